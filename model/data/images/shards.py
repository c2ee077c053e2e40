"""Local WebDataset shards by index: the headers of every shard are read once.

After that an example is one read at a known offset, so shards are as good as a folder.
"""

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from model.data.errors import ExampleUnreadable, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes, numbered_classes, whole_label
from model.data.images.decoding import Record
from model.data.images.members import (
    LABEL_SUFFIXES,
    StrictHeader,
    group_members,
    picture_suffix,
    regular_files,
    said_label,
)


class ShardRecords:
    """The examples of local .tar shards by index."""

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
        self._shards = list(shards)
        self._stems: list[str] = []
        said: list[object] = []
        places: list[tuple[int, int, int]] = []
        for number, shard in enumerate(self._shards):
            for stem, place, label in _read_headers(shard, bad):
                self._stems.append(stem)
                said.append(label)
                places.append((number, *place))
        if not places:
            raise LocationRefused(location, "its shards hold no example")
        labels: list[int] = []
        kept: list[int] = []
        self.classes = numbered_classes(location, _whole(said)) if index is None else index
        for at, value in enumerate(said):
            try:
                labels.append(
                    self.classes.label(self._where(places[at][0], self._stems[at]), value)
                )
                kept.append(at)
            except ExampleUnreadable as error:
                bad.meet(error)
        self._stems = [self._stems[at] for at in kept]
        self._places = np.asarray([places[at] for at in kept], dtype=np.int64).reshape(-1, 3)
        self._labels = np.asarray(labels, dtype=np.int32)
        if not kept:
            raise LocationRefused(location, "no example of its shards has a right label")

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Record:
        """Read one picture; raises `ExampleUnreadable` where that fails."""
        number, offset, size = map(int, self._places[index])
        where = self._where(number, self._stems[index])
        try:
            with self._shards[number].open("rb", buffering=0) as shard:
                shard.seek(offset)
                content = shard.read(size)
        except OSError as error:
            raise ExampleUnreadable(where, error.strerror or str(error)) from error
        if len(content) != size:
            raise ExampleUnreadable(where, "the shard ends in the middle of it")
        return Record(where, content, int(self._labels[index]))

    def _where(self, number: int, stem: str) -> str:
        return f"{self._shards[number]}:{stem}"


def _whole(said: Sequence[object]) -> list[int]:
    """The labels among what was said that are whole numbers."""
    labels = []
    for value in said:
        try:
            labels.append(whole_label("", value))
        except ExampleUnreadable:  # met again, and told, when it is looked up
            continue
    return labels


def _read_headers(shard: Path, bad: BadExamples) -> Iterator[tuple[str, tuple[int, int], object]]:
    """(stem, offset and size of the picture, what its label says) of each example."""
    try:
        with tarfile.open(shard, "r:", tarinfo=StrictHeader) as archive:
            members = ((member.name, member) for member in regular_files(archive))
            for stem, group in group_members(members):
                where = f"{shard}:{stem}"
                try:
                    picture = group[picture_suffix(where, group)]
                    label = said_label(where, _label_contents(archive, group))
                except ExampleUnreadable as error:
                    bad.meet(error)
                    continue
                yield stem, (picture.offset_data, picture.size), label
    except (tarfile.TarError, OSError) as error:
        bad.meet(ExampleUnreadable(str(shard), f"the shard is damaged: {error}"))


def _label_contents(
    archive: tarfile.TarFile, group: Mapping[str, tarfile.TarInfo]
) -> dict[str, bytes]:
    contents = {}
    for suffix in LABEL_SUFFIXES:
        if suffix in group and (member := archive.extractfile(group[suffix])) is not None:
            contents[suffix] = member.read()
    return contents
