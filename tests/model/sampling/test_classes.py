"""Classes by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    names = [label.name for label in LABELS]
    assert file_stems(names, nameless="class") == ("tiger-face", "crane-1", "crane-2", "bird")


def test_file_names_lead_nowhere_else():
    assert file_stems(["../a/b", "?", ".."], nameless="prompt") == ("a-b", "prompt-1", "prompt-2")


def test_an_index_meets_no_name_that_ends_so():
    stems = file_stems(["a b", "a, b", "A b-1", "a b 1-2"], nameless="prompt")
    assert len(set(stems)) == 4
    assert all(stem.startswith("a-b") for stem in stems)


@pytest.mark.parametrize("letter", ["a", "é", "象", "🦊"])
def test_a_long_name_fits_a_file_system(letter):
    (stem,) = file_stems([letter * 1000], nameless="prompt")
    assert 0 < len(f"{stem}-{2**63 - 1}.png".encode()) < 255


@given(names=st.lists(st.text(max_size=6), max_size=8))
def test_all_file_names_differ(names):
    stems = file_stems(names, nameless="prompt")
    assert len(set(stems)) == len(names)
    assert not any("/" in stem or stem.startswith(".") for stem in stems)
