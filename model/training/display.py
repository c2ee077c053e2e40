"""The live line of a training run."""

from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.training.loop import Report


class Display:
    """A bar with loss, pace and time left; without a terminal, a line a report."""

    def __init__(self, *, steps: int, start: int, batch: int, name: str = "training") -> None:
        self._console = console = Console(stderr=True)
        self._steps, self._batch = steps, batch
        self._live = console.is_terminal
        self._name = name
        self._bar = Progress(
            TextColumn(name),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=steps, completed=start, said="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar to a step."""
        self._bar.update(self._task, completed=step)

    def show(self, report: Report) -> None:
        """Write loss and pace beside the bar, or print a line."""
        said = f"loss {report.loss:.4f}  {report.images_per_s:.1f} images/s"
        if self._live:
            self._bar.update(self._task, completed=report.step, said=said)
            return
        left_s = (self._steps - report.step) * self._batch / report.images_per_s
        self._console.print(
            f"{self._name}: step {report.step}/{self._steps}  {said}  "
            f"{timedelta(seconds=round(left_s))} left",
            highlight=False,
            soft_wrap=True,
        )
