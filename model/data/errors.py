"""Everything that reads or builds data raises on purpose.

DataError
├── LocationRefused       nothing that training could read is there
├── ClassesRefused        the names of the classes are unknown, or disagree with the data
├── ExampleUnreadable     an image or its label is missing, damaged or wrong
├── NothingReadable       every example was unreadable
├── SharesRefused         more processes than there are shards to share
├── ExtraMissing          an optional package is not installed
├── LatentsUnreadable     a folder of latents is incomplete, altered or of another format
├── LatentsDiffer         a folder of latents was begun with other settings
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


class LocationRefused(DataError):
    """A location that cannot be opened; the message says what was looked for."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"data location {location!r}: {reason}")


class ClassesRefused(DataError):
    """A class index that cannot be read, or data whose classes are not its own."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"classes of {where}: {reason}")


class ExampleUnreadable(DataError):
    """One example, or a shard of them, that cannot be used; `where` names the file."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} cannot be used: {reason}")
        self.where = where
        self.reason = reason

    def __reduce__(self) -> tuple[type["ExampleUnreadable"], tuple[str, str]]:
        return ExampleUnreadable, (self.where, self.reason)


class NothingReadable(DataError):
    """Leaving out what is unreadable left nothing."""

    def __init__(self, location: str, count: int) -> None:
        super().__init__(f"data location {location!r}: none of its {count} examples can be used")


class SharesRefused(DataError):
    """A stream of shards that so many processes cannot share."""

    def __init__(self, location: str, shards: int, shares: int) -> None:
        super().__init__(
            f"data location {location!r}: got {shares} processes for {shards} shards; "
            f"allowed: at most one process a shard"
        )


class ExtraMissing(DataError):
    """A package that an extra of this project installs is not there."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed; pip install 'dimr-serve[train]'")


class LatentsUnreadable(DataError):
    """A file of a folder of latents is missing, altered or not understood."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read as latents: {reason}")


class LatentsDiffer(DataError):
    """A folder cannot be continued: what it was begun with is not what is asked for."""

    def __init__(self, folder: Path, field: str, *, got: object, begun: object) -> None:
        super().__init__(
            f"{folder} was begun with another {field}: got {got}; allowed: {begun}, or a new folder"
        )


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
