"""Classes by name."""

import pytest

from model.sampling.classes import ClassUnknown, file_stems, find_class
from model.specs.manifest import Label

LABELS = (
    Label(name="tiger face", aliases=("tiger",)),
    Label(name="Crane", aliases=("bird",)),
    Label(name="crane"),
    Label(name="bird"),
)


@pytest.mark.parametrize(
    ("typed", "index"),
    [("tiger face", 0), ("  Tiger   FACE ", 0), ("tiger", 0), ("crane", 1), ("bird", 3)],
)
def test_names_and_aliases_find_a_class_and_names_go_first(typed, index):
    assert find_class(LABELS, typed) == index


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(ClassUnknown, match=r"'tigre'.*nearest: tiger"):
        find_class(LABELS, "tigre")


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(ClassUnknown) as caught:
        find_class(LABELS, "xyzzy")
    assert "nearest" not in str(caught.value)


def test_file_names_hold_no_blanks_and_tell_equal_names_apart():
    assert file_stems(LABELS) == ("tiger-face", "crane-1", "crane-2", "bird")


def test_file_names_lead_nowhere_else():
    assert file_stems((Label(name="../a/b"), Label(name="?"))) == ("a-b", "class")
