"""Everything the data set's builder and loader raise on purpose.

DataError
├── PackageUnavailable    a source package could not be fetched
├── PackageAltered        a source package is not the one that was pinned
├── IconUnusable          an icon is missing from its set or cannot be drawn
├── SizeRefused           a tile size that cannot be built or reduced exactly
├── OutputExists          the output folder already holds something
├── SheetsUnreadable      the shipped folder is incomplete, altered or of another format
├── UnknownName           a style or concept that the set does not have
└── SelectionRefused      a choice of styles or concepts that is empty or names one twice
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


class DataError(Exception):
    """Base class; the command line turns one into a single line and a non-zero exit."""


class PackageUnavailable(DataError):
    """The package manager is missing, or it did not deliver the package."""

    def __init__(self, package: str, reason: str) -> None:
        super().__init__(f"package {package} could not be fetched: {reason}")


class PackageAltered(DataError):
    """The archive's sha256 differs from the pinned one, or a member is not what it should be."""

    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"{archive} is not the pinned package: {reason}; delete it to fetch anew")


class IconUnusable(DataError):
    """An icon that the selection names cannot be drawn."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"icon {name!r} cannot be used: {reason}")


class SizeRefused(DataError):
    """A tile size in pixels outside what is allowed."""

    def __init__(self, size: int, allowed: Iterable[int]) -> None:
        super().__init__(f"size {size} px is not one of {', '.join(map(str, allowed))}")


class OutputExists(DataError):
    """Nothing is ever overwritten: the builder makes a new folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} exists; name a new folder or remove it first")


class SheetsUnreadable(DataError):
    """A file of the set is missing, altered or not understood."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read as an emoji set: {reason}")


class UnknownName(DataError):
    """A name that the set does not have; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        self.suggestions = tuple(get_close_matches(name, known, n=3, cutoff=0.5))
        hint = f"nearest: {', '.join(self.suggestions)}" if self.suggestions else "nothing is near"
        super().__init__(f"no {kind} {name!r} in the chosen styles ({hint})")


class SelectionRefused(DataError):
    """A choice of styles or concepts that makes no set of images."""

    def __init__(self, kind: str, chosen: Sequence[str]) -> None:
        super().__init__(f"{kind}s must name at least one and none twice, got {list(chosen)}")
