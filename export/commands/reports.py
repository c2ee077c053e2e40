"""Where the JSON report of a command goes: refused before the work, written after it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from model.files import write_whole
from model.sampling.arguments import ArgumentRefused


def check_report(path: Path | None, bundle: Path) -> None:
    """Refuse a report that cannot be written, or would take the place of something else.

    Args:
        path: of the report, if one is wanted.
        bundle: whose files stay what they are.

    Raises:
        ArgumentRefused: its folder is absent, read-only or within the bundle, or there is something
            that is no plain file.
    """
    if path is None:
        return
    folder = path.absolute().parent
    allowed = "a file in a folder that can be written"
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise _refused(path, allowed)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise _refused(path, f"{allowed}, where there is nothing yet or a plain file")
    if path.resolve().is_relative_to(bundle.resolve()):
        raise _refused(path, f"{allowed}, outside the bundle")


def _refused(path: Path, allowed: str) -> ArgumentRefused:
    return ArgumentRefused(f"argument --report: got {path}; allowed: {allowed}")


def write_report(path: Path | None, document: Mapping[str, object]) -> None:
    """Write a report, if one is wanted.

    Raises:
        ArgumentRefused: it cannot be written after all.
    """
    if path is None:
        return
    try:
        write_whole(path, (json.dumps(document, indent=1) + "\n").encode())
    except OSError as error:
        msg = f"argument --report: got {path}, which cannot be written: {error.strerror}; allowed: "
        msg += "a file on a disk with room"
        raise ArgumentRefused(msg) from error
