"""Files that are complete from the moment they are there, their hashes, and whose turn it is."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, content: bytes, *, owner: int | None = None) -> None:
    """Write a file that is complete, on the disk too, from the moment it is there.

    Args:
        path: the file; one that is there is replaced.
        content: all of it.
        owner: whose the unfinished file is, by default this process's. What a killed owner left is
            overwritten by the one that continues its work.
    """
    aside = _aside(path, owner)
    try:
        _write(aside, content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def publish(path: Path, content: bytes, *, owner: int | None = None) -> bool:
    """Write a file whole unless one is there; False where one is, even if it came just now."""
    aside = _aside(path, owner)
    try:
        _write(aside, content)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
            return True
        return False
    finally:
        aside.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other holder changes a folder, and keep all out until the context ends.

    Raises:
        OSError: it is absent, or lies where nothing can be locked.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _aside(path: Path, owner: int | None) -> Path:
    return path.with_name(f".{path.name}.{os.getpid() if owner is None else owner}")


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
