"""Lines of metadata.jsonl files by the picture that each is about."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.errors import ExampleUnreadable
from model.data.images.annotations import parsed_json
from model.data.images.bad import BadExamples


class MetadataLines:
    """Where the lines about each picture of a tree are; they are read again when asked for."""

    def __init__(
        self, folder: Path, files: Sequence[str], pictures: Sequence[str], bad: BadExamples
    ) -> None:
        """Read every line once.

        Args:
            folder: the root of the tree.
            files: paths of the metadata, relative to it; the "file_name" of a line is relative to
                where its file is.
            pictures: paths of the pictures, relative to the root.
            bad: is told of lines that are no JSON object or name no picture.
        """
        self._files = [folder / path for path in files]
        places = {path: place for place, path in enumerate(pictures)}
        found: list[tuple[int, int, int]] = []
        for number, path in enumerate(files):
            for where, offset, line in _lines(folder / path, bad):
                try:
                    name = _file_name(where, parsed_json(where, line))
                    found.append((_place(where, path, name, places), number, offset))
                except ExampleUnreadable as error:
                    bad.meet(error)
        self._found = np.asarray(sorted(found), dtype=np.int64).reshape(-1, 3)
        self._pictures = len(pictures)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether each picture has a line."""
        return np.bincount(self._found[:, 0], minlength=self._pictures) > 0

    def of(self, place: int) -> Iterator[object]:
        """What the lines about a picture say, in order; raises OSError where that fails."""
        first, last = np.searchsorted(self._found[:, 0], (place, place + 1))
        for _, number, offset in self._found[first:last].tolist():
            path = self._files[number]
            with path.open("rb") as file:
                file.seek(offset)
                yield parsed_json(str(path), file.readline())


def _lines(path: Path, bad: BadExamples) -> Iterator[tuple[str, int, bytes]]:
    """(its name in messages, its offset in bytes, the line) of every line that is not blank."""
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", offset, line
                offset += len(line)
    except OSError as error:
        bad.meet(ExampleUnreadable(str(path), error.strerror or str(error)))


def _file_name(where: str, document: object) -> str:
    name = document.get("file_name") if isinstance(document, dict) else None
    if not isinstance(name, str):
        raise ExampleUnreadable(where, 'it names no picture; allowed: an object with "file_name"')
    return name


def _place(where: str, metadata: str, name: str, places: dict[str, int]) -> int:
    path = os.path.normpath(os.path.join(os.path.dirname(metadata), name))  # noqa: PTH118, PTH120 - a million times
    if path not in places:
        raise ExampleUnreadable(where, f"there is no picture {name!r:.200}")
    return places[path]
