from collections import Counter

import pytest

from model.data.order import one_of_each

CHOICES = [tuple(f"{k}{letter}" for letter in "abc"[: k % 3 + 1]) for k in range(12)]


def test_what_is_drawn_follows_from_the_key_and_the_place_in_the_whole_batch():
    whole = one_of_each(CHOICES, 12, slice(0, 12), 5, 6, 7)
    parts = [one_of_each(CHOICES[part], 12, part, 5, 6, 7) for part in (slice(0, 4), slice(4, 12))]
    assert parts[0] + parts[1] == whole
    assert all(drawn in choices for drawn, choices in zip(whole, CHOICES, strict=True))
    assert one_of_each(CHOICES, 12, slice(0, 12), 5, 6, 8) != whole


def test_every_choice_is_as_likely():
    drawn = Counter(
        choice
        for step in range(40)
        for choice in one_of_each(["abcd"] * 50, 50, slice(0, 50), 0, 6, step)
    )
    assert set(drawn) == set("abcd")
    for count in drawn.values():
        assert count == pytest.approx(500, abs=100)  # five standard deviations


def test_a_repeated_choice_is_drawn_as_often_as_it_is_repeated():
    drawn = Counter(one_of_each(["aaab"] * 2000, 2000, slice(0, 2000), 0))
    assert drawn["a"] == pytest.approx(1500, abs=100)
