"""Pictures as training examples: decoded, cropped, and held to one policy on bad ones.

The place of an example that is left out is taken by the next one that can be used. So the length of
a source and a position in a stream mean the same whatever is bad, and resuming decodes nothing
that it passes over.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

from model.data.errors import ExampleUnreadable, NothingReadable
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import Record, decode_record
from model.data.source import Example


class Records(Protocol):
    """Pictures by index, not yet decoded."""

    @property
    def location(self) -> str:
        """Names the whole in messages."""

    @property
    def classes(self) -> Classes:
        """What labels index; none where pictures have captions."""

    def __len__(self) -> int:
        """Number of pictures."""

    def __getitem__(self, index: int) -> Record:
        """Read picture `index`; raises `ExampleUnreadable`."""


@runtime_checkable
class RecordStream(Protocol):
    """Pictures in a sequence, not yet decoded."""

    @property
    def location(self) -> str:
        """Names the whole in messages."""

    @property
    def classes(self) -> Classes:
        """What labels index; none where pictures have captions."""

    def read(self, *, epoch: int, share: int, shares: int) -> Iterator[Record | ExampleUnreadable]:
        """One pass over a share; its sequence depends on the arguments alone."""


class ImageSource:
    """Crops by index."""

    def __init__(self, records: Records, size: int, bad: BadExamples) -> None:
        """Decode nothing yet; crops are (size, size, 3)."""
        self._records = records
        self._size = size
        self._bad = bad
        self._unusable: set[int] = set()

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order; none where examples have captions."""
        return self._records.classes.names

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""
        return self._records.classes.aliases

    @property
    def bad(self) -> Mapping[str, str]:
        """Why examples were left out so far, by where they are."""
        return self._bad.reasons

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        """Example `index`, or the next that can be used, from the first again after the last.

        Raises:
            ExampleUnreadable: it cannot be used and nothing is to be left out.
            NothingReadable: no example can be used.
        """
        count = len(self._records)
        if not 0 <= index < count:
            raise IndexError(index)
        for at in range(index, index + count):
            place = at % count
            if place in self._unusable:
                continue
            try:
                return decode_record(self._records[place], self._size)
            except ExampleUnreadable as error:
                self._bad.meet(error)
                self._unusable.add(place)
        raise NothingReadable(self._records.location, count)


class ImageStream:
    """Crops in a sequence."""

    def __init__(self, records: RecordStream, size: int, bad: BadExamples) -> None:
        """Decode nothing yet; crops are (size, size, 3)."""
        self._records = records
        self._size = size
        self._bad = bad

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order; none where examples have captions."""
        return self._records.classes.names

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""
        return self._records.classes.aliases

    @property
    def bad(self) -> Mapping[str, str]:
        """Why examples were left out so far, by where they are."""
        return self._bad.reasons

    def read(self, *, epoch: int, share: int, shares: int, start: int = 0) -> Iterator[Example]:
        """One pass over part `share` of `shares`, from its example `start` on.

        Raises:
            ExampleUnreadable: an example cannot be used and nothing is to be left out.
            NothingReadable: no example of the part can be used.
        """
        records = self._records.read(epoch=epoch, share=share, shares=shares)
        given, owed = start, 0
        for record in islice(records, start, None):
            owed += 1
            try:
                example = self._decode(record)
            except ExampleUnreadable as error:
                self._bad.meet(error)
                continue
            for _ in range(owed):
                yield example
            given, owed = given + owed, 0
        if owed and not given:
            raise NothingReadable(self._records.location, owed)

    def _decode(self, record: Record | ExampleUnreadable) -> Example:
        if isinstance(record, ExampleUnreadable):
            raise record
        return decode_record(record, self._size)
