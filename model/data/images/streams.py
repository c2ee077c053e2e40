"""WebDataset shards that are read from their beginning: remote, piped or compressed ones.

What share k of n reads in an epoch follows from (epoch, k, n): the shards are permuted by epoch,
dealt out in turn, and shuffled within a window of examples.
"""

import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import IO, TypeVar

import torch

from model.data.errors import ExampleUnreadable, SharesRefused
from model.data.images.annotations import Annotator
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import Record
from model.data.images.extras import import_extra
from model.data.images.members import (
    StrictHeader,
    group_members,
    picture_suffix,
    regular_files,
)
from model.data.order import generator_for

WINDOW = 1000  # examples held back, encoded, to be shuffled
_SHARDS, _WINDOWS = 10, 11  # streams of randomness

T = TypeVar("T")


class ShardStream:
    """The examples of shards that can only be read in sequence."""

    def __init__(
        self, location: str, urls: Sequence[str], bad: BadExamples, annotator: Annotator
    ) -> None:
        """Open nothing yet.

        Args:
            location: names the whole in messages.
            urls: what `webdataset` opens: paths, http(s), pipe: and others, in order.
            bad: is told of shards that cannot be opened or end early.
            annotator: reads labels or captions; a stream is not searched for classes.

        Raises:
            ExtraMissing: webdataset is not installed.
        """
        self.location = location
        self._annotator = annotator
        self._urls = list(urls)
        self._bad = bad
        self._open = import_extra("webdataset.gopen").gopen

    @property
    def classes(self) -> Classes:
        """What labels index; none where pictures have captions."""
        return self._annotator.classes

    def read(self, *, epoch: int, share: int, shares: int) -> Iterator[Record | ExampleUnreadable]:
        """The records of a share; an example that cannot be used is its error.

        Raises:
            SharesRefused: there are fewer shards than shares.
        """
        if shares > len(self._urls):
            raise SharesRefused(self.location, len(self._urls), shares)
        order = torch.randperm(len(self._urls), generator=generator_for(_SHARDS, epoch))
        generator = generator_for(_WINDOWS, epoch, share)
        records = (
            record for at in order[share::shares].tolist() for record in self._shard(self._urls[at])
        )
        return shuffled(records, WINDOW, generator)

    def _shard(self, url: str) -> Iterator[Record | ExampleUnreadable]:
        """The records of a shard up to its end or its damage, of which `bad` is told."""
        try:
            with closing(self._open(url)) as opened:
                yield from self._records(url, opened)
                while opened.read(
                    1 << 20
                ):  # what follows the end mark; a pipe then says how it went
                    pass
        except (
            tarfile.TarError,
            OSError,
            EOFError,
            ValueError,
            subprocess.TimeoutExpired,
        ) as error:
            self._bad.meet(ExampleUnreadable(url, f"the shard is damaged: {error}"))

    def _records(self, url: str, opened: IO[bytes]) -> Iterator[Record | ExampleUnreadable]:
        with tarfile.open(fileobj=opened, mode="r|*", tarinfo=StrictHeader) as archive:
            for stem, group in group_members(_contents(archive)):
                where = f"{url}:{stem}"
                try:
                    picture = group[picture_suffix(where, group)]
                    record = self._annotator.of_members(where, picture, group)
                except ExampleUnreadable as error:
                    yield error
                    continue
                yield record


def _contents(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in regular_files(archive):
        opened = archive.extractfile(member)
        assert opened is not None  # it is a regular file
        yield member.name, opened.read()


def shuffled(items: Iterator[T], window: int, generator: torch.Generator) -> Iterator[T]:
    """Shuffle as far as a window reaches: each item leaves it when a random later one enters."""
    held: list[T] = []
    for item in items:
        if len(held) < window:
            held.append(item)
            continue
        at = int(torch.randint(window, (), generator=generator))
        held[at], item = item, held[at]
        yield item
    for at in torch.randperm(len(held), generator=generator).tolist():
        yield held[at]
