"""Local WebDataset shards by index: the headers of every shard are read once.

After that an example is one or two reads at known offsets, so shards are as good as a folder.
"""

import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from model.data.errors import ExampleUnreadable, LocationRefused
from model.data.images.annotations import (
    CAPTION_SUFFIXES,
    Captions,
    caption_suffix,
    said_label,
)
from model.data.images.bad import BadExamples
from model.data.images.classes import NO_CLASSES, Classes, numbered_classes, whole_label
from model.data.images.decoding import Record
from model.data.images.members import StrictHeader, group_members, picture_suffix, regular_files

T = TypeVar("T")

Members = Mapping[str, tarfile.TarInfo]
"""The members of an example by suffix."""

Span = tuple[int, int]
"""Offset of a member's content in its shard and its size, in bytes."""


class ShardRecords:
    """The labelled examples of local .tar shards by index."""

    def __init__(
        self,
        location: str,
        shards: Sequence[Path],
        bad: BadExamples,
        index: Classes | None = None,
    ) -> None:
        """Read the headers and the labels of every shard.

        Args:
            location: names the whole in messages.
            shards: uncompressed tar files, in order.
            bad: is told of damaged shards and of examples without one picture and a right label.
            index: the classes; None numbers them up to the largest label.

        Raises:
            LocationRefused: no example is left.
            ClassesRefused: no label tells how many classes there are.
        """
        self.location = location
        self._pictures = _Pictures(shards)
        said = self._pictures.scan(location, bad, _said_label)
        self.classes = numbered_classes(location, _whole(said)) if index is None else index
        labels: list[int] = []
        kept: list[int] = []
        for at, value in enumerate(said):
            try:
                labels.append(self.classes.label(self._pictures.where(at), value))
                kept.append(at)
            except ExampleUnreadable as error:
                bad.meet(error)
        self._kept = np.asarray(kept, dtype=np.int64)
        self._labels = np.asarray(labels, dtype=np.int32)
        if not kept:
            raise LocationRefused(location, "no example of its shards has a right label")

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Record:
        """Read one picture; raises `ExampleUnreadable` where that fails."""
        at = int(self._kept[index])
        (content,) = self._pictures.read(at, [self._pictures.span(at)])
        return Record(self._pictures.where(at), content, int(self._labels[index]))


class CaptionedShardRecords:
    """The captioned examples of local .tar shards by index; captions are read with the picture."""

    def __init__(self, location: str, shards: Sequence[Path], bad: BadExamples) -> None:
        """Read the headers of every shard.

        Args:
            location: names the whole in messages.
            shards: uncompressed tar files, in order.
            bad: is told of damaged shards and of examples without one picture and a caption.

        Raises:
            LocationRefused: no example is left.
        """
        self.location = location
        self.classes = NO_CLASSES
        self._captions = Captions()
        self._pictures = _Pictures(shards)
        beside = self._pictures.scan(location, bad, _caption_span)
        self._beside = np.asarray(beside, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._beside)

    def __getitem__(self, index: int) -> Record:
        """Read one picture and its captions; raises `ExampleUnreadable` where that fails."""
        kind, offset, size = map(int, self._beside[index])
        spans = [self._pictures.span(index), (offset, size)]
        picture, said = self._pictures.read(index, spans)
        suffix = CAPTION_SUFFIXES[kind]
        return self._captions.of_members(self._pictures.where(index), picture, {suffix: said})


class _Pictures:
    """Where the pictures of shards are."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = list(shards)
        self._stems: list[str] = []
        self._places = np.empty((0, 3), dtype=np.int64)

    def scan(
        self,
        location: str,
        bad: BadExamples,
        describe: Callable[[str, tarfile.TarFile, Members], T],
    ) -> list[T]:
        """Find every picture; gives what `describe` makes of the members beside each."""
        described: list[T] = []
        places: list[tuple[int, int, int]] = []
        for number, shard in enumerate(self._shards):
            for stem, span, said in _read_headers(shard, bad, describe):
                self._stems.append(stem)
                described.append(said)
                places.append((number, *span))
        if not places:
            raise LocationRefused(location, "its shards hold no example")
        self._places = np.asarray(places, dtype=np.int64)
        return described

    def where(self, at: int) -> str:
        """Names an example in messages."""
        return f"{self._shards[self._places[at, 0]]}:{self._stems[at]}"

    def span(self, at: int) -> Span:
        """Where the picture of an example is in its shard."""
        _, offset, size = map(int, self._places[at])
        return offset, size

    def read(self, at: int, spans: Sequence[Span]) -> list[bytes]:
        """Read parts of the shard of an example; raises `ExampleUnreadable`."""
        contents = []
        try:
            with self._shards[self._places[at, 0]].open("rb", buffering=0) as shard:
                for offset, size in spans:
                    shard.seek(offset)
                    contents.append(shard.read(size))
        except OSError as error:
            raise ExampleUnreadable(self.where(at), error.strerror or str(error)) from error
        if any(len(content) != size for content, (_, size) in zip(contents, spans, strict=True)):
            raise ExampleUnreadable(self.where(at), "the shard ends in the middle of it")
        return contents


def _whole(said: Sequence[object]) -> list[int]:
    """The labels among what was said that are whole numbers."""
    labels = []
    for value in said:
        try:
            labels.append(whole_label("", value))
        except ExampleUnreadable:  # met again, and told, when it is looked up
            continue
    return labels


def _read_headers(
    shard: Path, bad: BadExamples, describe: Callable[[str, tarfile.TarFile, Members], T]
) -> Iterator[tuple[str, Span, T]]:
    """(stem, where its picture is, what is said of it) of each example."""
    try:
        with tarfile.open(shard, "r:", tarinfo=StrictHeader) as archive:
            members = ((member.name, member) for member in regular_files(archive))
            for stem, group in group_members(members):
                where = f"{shard}:{stem}"
                try:
                    picture = group[picture_suffix(where, group)]
                    said = describe(where, archive, group)
                except ExampleUnreadable as error:
                    bad.meet(error)
                    continue
                yield stem, (picture.offset_data, picture.size), said
    except (tarfile.TarError, OSError) as error:
        bad.meet(ExampleUnreadable(str(shard), f"the shard is damaged: {error}"))


def _said_label(where: str, archive: tarfile.TarFile, group: Members) -> object:
    contents = {}
    for suffix in ("cls", "json"):
        if suffix in group and (member := archive.extractfile(group[suffix])) is not None:
            contents[suffix] = member.read()
    return said_label(where, contents)


def _caption_span(where: str, _archive: tarfile.TarFile, group: Members) -> tuple[int, int, int]:
    """Which suffix the captions have, and where they are in the shard."""
    suffix = caption_suffix(where, group)
    return CAPTION_SUFFIXES.index(suffix), group[suffix].offset_data, group[suffix].size
