"""How far a command has come with a checkpoint."""

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """A live bar on stderr: what is being done, and bytes of the checkpoint it went through."""

    def __init__(self, size_bytes: int) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=size_bytes)
        self._counted = False  # anything since the stage began

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def began(self, stage: str) -> None:
        """Say what is being done from now on."""
        self._bar.update(self._task, description=stage)
        self._counted = False

    def advanced(self, size_bytes: int) -> None:
        """Count bytes of the checkpoint, from 0 in every stage that has any."""
        if not self._counted:
            self._bar.reset(self._task)
            self._counted = True
        self._bar.advance(self._task, size_bytes)
