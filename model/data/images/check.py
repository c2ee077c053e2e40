"""Reading every picture of a data set once, to count what can be used and name what cannot."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from model.data.errors import ExampleUnreadable
from model.data.images.ahead import map_ahead
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import Record, decode_record
from model.data.images.sources import Records, RecordStream
from model.data.source import Example


@dataclass(frozen=True, slots=True)
class Census:
    """How many pictures of each class can be used, in index order."""

    classes: Classes
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CaptionCensus:
    """How many captions each picture has that can be used, and of how many characters each is."""

    captions: tuple[int, ...]
    characters: tuple[int, ...]


def check_records(
    records: Records, size: int, bad: BadExamples, *, threads: int, done: Callable[[int], None]
) -> Iterator[Example]:
    """Decode and crop every picture by index; those that can be used, in order.

    Args:
        records: what is checked.
        size: side of the crop.
        bad: is told of what cannot be used; it should leave it out.
        threads: how many decode at once.
        done: is told after every picture, with 1.
    """
    reads = (partial(records.__getitem__, index) for index in range(len(records)))
    return _check(reads, size, bad, threads, done)


def check_stream(
    stream: RecordStream, size: int, bad: BadExamples, *, threads: int, done: Callable[[int], None]
) -> Iterator[Example]:
    """Decode and crop every picture of one pass; arguments as for `check_records`."""
    reads = (partial(_given, record) for record in stream.read(epoch=0, share=0, shares=1))
    return _check(reads, size, bad, threads, done)


def count_classes(classes: Classes, examples: Iterable[Example]) -> Census:
    """Count labelled examples."""
    counts = [0] * len(classes.names)
    for example in examples:
        assert example.label is not None  # they are labelled
        counts[example.label] += 1
    return Census(classes, tuple(counts))


def count_captions(examples: Iterable[Example]) -> CaptionCensus:
    """Count the captions of captioned examples."""
    captions: list[int] = []
    characters: list[int] = []
    for example in examples:
        captions.append(len(example.captions))
        characters.extend(map(len, example.captions))
    return CaptionCensus(tuple(captions), tuple(characters))


def _check(
    reads: Iterable[Callable[[], Record]],
    size: int,
    bad: BadExamples,
    threads: int,
    done: Callable[[int], None],
) -> Iterator[Example]:
    def attempt(read: Callable[[], Record]) -> Example | ExampleUnreadable:
        try:
            return decode_record(read(), size)
        except ExampleUnreadable as error:
            return error

    for found in map_ahead(attempt, reads, threads=threads):
        if isinstance(found, ExampleUnreadable):
            bad.meet(found)
        else:
            yield found
        done(1)


def _given(record: Record | ExampleUnreadable) -> Record:
    if isinstance(record, ExampleUnreadable):
        raise record
    return record
