"""How far a sampling command has come, as a live bar on stderr."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """Images done, network calls a second, time left; nothing where stderr is no terminal."""

    def __init__(self, images: int, rows: int) -> None:
        """Expect so many images, and network rows in all."""
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("sampling"),
            BarColumn(),
            TextColumn("{task.fields[done]}/{task.fields[images]} images"),
            TextColumn("{task.fields[pace]:.0f} calls/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=rows, done=0, images=images, pace=0.0)
        self._rows = self._done = 0
        self._began = time.monotonic()

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def called(self, rows: int) -> None:
        """Count the network rows of one call."""
        self._rows += rows
        pace = self._rows / (time.monotonic() - self._began)
        self._bar.update(self._task, completed=self._rows, pace=pace)

    def finished(self) -> None:
        """Count one image."""
        self._done += 1
        self._bar.update(self._task, done=self._done)
