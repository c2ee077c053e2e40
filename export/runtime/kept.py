"""What was compiled when plans were loaded, kept for the next start.

It saves time and nothing else: where it can be neither read nor written, that is logged.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from model.files import write_whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder of one file a plan, created if need be; without a folder nothing is kept."""

    folder: Path | None

    def read(self, key: str) -> bytes:
        """What was kept under a key; nothing where there is none."""
        if self.folder is None:
            return b""
        try:
            return self._path(self.folder, key).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            logger.warning("compiled kernels not read", extra={"reason": str(error)})
            return b""

    def write(self, key: str, compiled: bytes) -> None:
        """Keep this, if it is anything."""
        if self.folder is None or not compiled:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(self.folder, key), compiled)
        except OSError as error:
            logger.warning("compiled kernels not kept", extra={"reason": str(error)})

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}.cache"
