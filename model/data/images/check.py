"""Reading every picture of a data set once, to count what can be used and name what cannot."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.data.errors import ExampleUnreadable
from model.data.images.ahead import map_ahead
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import Record, decode_record
from model.data.images.sources import Records, RecordStream


@dataclass(frozen=True, slots=True)
class Census:
    """How many pictures of each class can be used, in index order."""

    classes: Classes
    counts: tuple[int, ...]


def check_records(
    records: Records, size: int, bad: BadExamples, *, threads: int, done: Callable[[int], None]
) -> Census:
    """Decode and crop every picture by index.

    Args:
        records: what is checked.
        size: side of the crop.
        bad: is told of what cannot be used; it should leave it out.
        threads: how many decode at once.
        done: is told after every picture, with 1.
    """

    def attempt(index: int) -> int | ExampleUnreadable:
        try:
            return decode_record(records[index], size).label
        except ExampleUnreadable as error:
            return error

    found = map_ahead(attempt, range(len(records)), threads=threads)
    return _count(found, records.classes, bad, done)


def check_stream(
    stream: RecordStream, size: int, bad: BadExamples, *, threads: int, done: Callable[[int], None]
) -> Census:
    """Decode and crop every picture of one pass; arguments as for `check_records`."""

    def attempt(record: Record | ExampleUnreadable) -> int | ExampleUnreadable:
        if isinstance(record, ExampleUnreadable):
            return record
        try:
            return decode_record(record, size).label
        except ExampleUnreadable as error:
            return error

    records = stream.read(epoch=0, share=0, shares=1)
    found = map_ahead(attempt, records, threads=threads)
    return _count(found, stream.classes, bad, done)


def _count(
    found: Iterator[int | ExampleUnreadable],
    classes: Classes,
    bad: BadExamples,
    done: Callable[[int], None],
) -> Census:
    counts = [0] * len(classes.names)
    for label in found:
        if isinstance(label, ExampleUnreadable):
            bad.meet(label)
        else:
            counts[label] += 1
        done(1)
    return Census(classes, tuple(counts))
