import logging
from dataclasses import dataclass

import numpy as np
import pytest

from model.data.errors import ExampleUnreadable, NothingReadable
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import Record
from model.data.images.sources import ImageSource, ImageStream
from model.specs.data import OnBad


@dataclass
class Listed:
    """Records of a list, by index and in sequence; counts how often each was read."""

    contents: list[bytes]
    location: str = "listed"

    def __post_init__(self):
        self.reads = [0] * len(self.contents)
        self.classes = Classes(tuple("0123456789"), {"3": ("three",)})

    def __len__(self):
        return len(self.contents)

    def __getitem__(self, index):
        self.reads[index] += 1
        return Record(f"listed:{index}", self.contents[index], index)

    def read(self, *, epoch, share, shares):
        for index in range(share, len(self), shares):
            if self.contents[index] == b"no label":
                yield ExampleUnreadable(f"listed:{index}", "it has no label")
            else:
                yield self[index]


@pytest.fixture
def gappy(picture):
    """Ten records of which 2, 3 and 9 cannot be used."""
    contents = [picture] * 10
    contents[2], contents[3], contents[9] = b"", picture[:50], b"no label"
    return Listed(contents)


def test_an_example_is_a_crop_with_its_label(picture):
    source = ImageSource(Listed([picture] * 4), 8, BadExamples(OnBad.STOP))
    assert len(source) == 4
    assert source[3].value.shape == (8, 8, 3)
    assert source[3].value.dtype == np.uint8
    assert source[3].label == 3
    assert source.classes[3] == "3"
    assert source.aliases == {"3": ("three",)}
    for outside in (-1, 4):
        with pytest.raises(IndexError):
            source[outside]


def test_a_bad_example_stops_by_name(gappy):
    source = ImageSource(gappy, 8, BadExamples(OnBad.STOP))
    assert source[1].label == 1
    with pytest.raises(ExampleUnreadable, match="listed:2 cannot be used: the file is empty"):
        source[2]


def test_the_next_example_takes_the_place_of_a_bad_one(gappy, caplog):
    source = ImageSource(gappy, 8, BadExamples(OnBad.SKIP))
    with caplog.at_level(logging.WARNING):
        labels = [[source[k].label for k in range(10)] for _ in range(2)]
    assert labels == [[0, 1, 4, 4, 4, 5, 6, 7, 8, 0]] * 2
    assert sorted(source.bad) == ["listed:2", "listed:3", "listed:9"]
    assert len(caplog.records) == 3
    assert [gappy.reads[k] for k in (2, 3, 9)] == [1, 1, 1]


def test_order_of_reading_changes_nothing(gappy):
    forward = ImageSource(gappy, 8, BadExamples(OnBad.SKIP))
    backward = ImageSource(gappy, 8, BadExamples(OnBad.SKIP))
    found = [backward[k].label for k in reversed(range(10))]
    assert found[::-1] == [forward[k].label for k in range(10)]


def test_nothing_usable_stops_whatever_the_policy():
    records = Listed([b""] * 3)
    with pytest.raises(NothingReadable, match="none of its 3 examples"):
        ImageSource(records, 8, BadExamples(OnBad.SKIP))[1]
    with pytest.raises(NothingReadable, match="none of its 3 examples"):
        list(ImageStream(records, 8, BadExamples(OnBad.SKIP)).read(epoch=0, share=0, shares=1))


@pytest.mark.parametrize("start", range(11))
def test_a_stream_resumes_at_every_position(gappy, start):
    whole = ImageStream(gappy, 8, BadExamples(OnBad.SKIP)).read(epoch=0, share=0, shares=1)
    labels = [example.label for example in whole]
    assert labels == [0, 1, 4, 4, 4, 5, 6, 7, 8]  # nothing usable follows the last
    resumed = ImageStream(gappy, 8, BadExamples(OnBad.SKIP))
    found = resumed.read(epoch=0, share=0, shares=1, start=start)
    assert [example.label for example in found] == labels[start:]


def test_what_a_stream_passes_over_is_not_decoded(gappy):
    stream = ImageStream(gappy, 8, BadExamples(OnBad.STOP))
    found = stream.read(epoch=0, share=0, shares=1, start=4)
    assert [next(found).label for _ in range(5)] == [4, 5, 6, 7, 8]
    with pytest.raises(ExampleUnreadable, match="listed:9 cannot be used: it has no label"):
        next(found)
