"""Progress of long work, on stderr."""

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Show = Callable[[str, float, int], None]
"""Called with (what is done, how much of it, how much there is)."""


class Pace(ProgressColumn):
    """How much is done a second."""

    def render(self, task: Task) -> Text:
        """Blank until there is something to go by."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


class Display:
    """A live bar for each part of the work; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Pace(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, part: str, done: float, total: int) -> None:
        """Update the bar of one part; what is done at the first call does not count as pace."""
        if part not in self._tasks:
            self._tasks[part] = self._bar.add_task(part, total=total, completed=int(done))
        self._bar.update(self._tasks[part], completed=done)
