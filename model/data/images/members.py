"""What the members of a WebDataset shard mean: files of one stem are one example."""

import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Self, TypeVar

from model.data.errors import ExampleUnreadable
from model.data.images.decoding import SUFFIXES

M = TypeVar("M")

_META = re.compile(r"__[^/]*__($|/)")  # WebDataset's own notes


class StrictHeader(tarfile.TarInfo):
    """A tar header for `tarfile.open(tarinfo=...)`: only the end mark ends an archive.

    The standard library takes a damaged header, or the end of a truncated file, for the end.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next header; raises `tarfile.ReadError` where there is none."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            msg = f"{error} at byte {archive.offset}"
            raise tarfile.ReadError(msg) from error


def regular_files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of an archive in order, without WebDataset's own notes."""
    for member in archive:
        if member.isreg() and not _META.match(member.name):
            yield member
        archive.members.clear()  # type: ignore[attr-defined] # or it would keep every header


def split_name(name: str) -> tuple[str, str]:
    """Stem and suffix: WebDataset cuts the last part of the path at its first dot."""
    folder, base = os.path.split(name)
    stem, _, suffix = base.partition(".")
    return os.path.join(folder, stem), suffix.lower()  # noqa: PTH118 - a name, not a path


def group_members(members: Iterable[tuple[str, M]]) -> Iterator[tuple[str, dict[str, M]]]:
    """Neighbouring members of one stem as (stem, member by suffix)."""
    stem, group = "", dict[str, M]()
    for name, member in members:
        its_stem, suffix = split_name(name)
        if its_stem != stem and group:
            yield stem, group
            group = {}
        stem = its_stem
        group[suffix] = member
    if group:
        yield stem, group


def picture_suffix(where: str, group: Mapping[str, object]) -> str:
    """The suffix of the one picture of an example.

    Raises:
        ExampleUnreadable: it has none, or several.
    """
    found = [suffix for suffix in group if f".{suffix}" in SUFFIXES]
    if len(found) != 1:
        reason = f"an example needs one picture; there are {', '.join(found) or 'none'}"
        raise ExampleUnreadable(where, reason)
    return found[0]
