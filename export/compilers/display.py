"""How far a build is, on a terminal or in a log."""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class BuildDisplay:
    """On stderr: the part, the stage that it is at, and steps of that stage.

    On a terminal that is a live bar, elsewhere a line for each stage when it begins.
    """

    def __init__(self) -> None:
        # Bound now: tracing puts something else in the place of stderr meanwhile.
        self._stream = sys.stderr
        console = Console(file=self._stream)
        self._live = console.is_terminal
        self._said: set[tuple[str, str]] = set()
        self._bar = Progress(
            TextColumn("{task.fields[part]}: {task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("opening", part="bundle", total=None)

    def __enter__(self) -> "BuildDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def began(self, part: str, stage: str, steps: int | None = None) -> None:
        """Say where the build is from now on."""
        if self._live:
            self._bar.remove_task(self._task)  # a total that is known cannot be forgotten
            self._task = self._bar.add_task(stage, part=part, total=steps)
        elif (part, stage) not in self._said:
            self._said.add((part, stage))
            self._stream.write(f"{part}: {stage}\n")
            self._stream.flush()

    def advanced(self, steps: int) -> None:
        """Say how many steps of the stage are done."""
        self._bar.update(self._task, completed=steps)
