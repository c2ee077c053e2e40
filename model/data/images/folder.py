"""A tree of class folders, as ImageNet comes: DIR/<class>/**/<picture>.

Classes are the first-level folders in sorted order; pictures are sorted by path within theirs.
Names that start with a dot and files without a picture's suffix are passed over.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from model.data.errors import ExampleUnreadable, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes, folder_classes
from model.data.images.decoding import SUFFIXES, Record


class FolderRecords:
    """The pictures of a tree by index."""

    def __init__(self, folder: Path, bad: BadExamples, index: Classes | None = None) -> None:
        """List the tree.

        Args:
            folder: holds one folder a class.
            bad: is told of class folders without a picture and pictures outside class folders.
            index: names of the classes; None names them by their folders.

        Raises:
            LocationRefused: there is no class folder, or no picture in any.
            ClassesRefused: `index` does not name these folders.
        """
        self.location = str(folder)
        self._folder = folder
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise LocationRefused(self.location, error.strerror or str(error)) from error
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
        if not names:
            raise LocationRefused(self.location, "it holds no class folders and no .tar shards")
        self.classes = folder_classes(self.location, names, index)
        for entry in entries:
            if entry.is_file() and not entry.name.startswith(".") and is_picture(entry.name):
                bad.meet(ExampleUnreadable(entry.path, "it lies in no class folder"))
        self._paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            found = sorted(filter(is_picture, files_below(folder / name, bad)))
            if not found:
                bad.meet(ExampleUnreadable(str(folder / name), "the class has no picture"))
            self._paths += [f"{name}/{path}" for path in found]
            labels += [label] * len(found)
        self._labels = np.asarray(labels, dtype=np.int32)
        if not self._paths:
            raise LocationRefused(self.location, "its class folders hold no picture")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Record:
        """Read a file; raises `ExampleUnreadable` where that fails."""
        path = self._folder / self._paths[index]
        try:
            return Record(str(path), path.read_bytes(), int(self._labels[index]))
        except OSError as error:
            raise ExampleUnreadable(str(path), error.strerror or str(error)) from error


def is_picture(path: str) -> bool:
    """Whether a path has a picture's suffix."""
    return os.path.splitext(path)[1].lower() in SUFFIXES  # noqa: PTH122 - a million times


def files_below(folder: Path, bad: BadExamples) -> Iterator[str]:
    """Paths of the files below a folder, relative to it, in no order.

    Names that start with a dot are passed over and links to folders are not followed; `bad` is told
    of folders that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        bad.meet(ExampleUnreadable(str(error.filename), error.strerror or str(error)))

    for where, below, files in os.walk(folder, onerror=refuse):
        below[:] = (name for name in below if not name.startswith("."))
        prefix = os.path.relpath(where, folder)
        for name in files:
            if not name.startswith("."):
                yield name if prefix == "." else f"{prefix}/{name}"
