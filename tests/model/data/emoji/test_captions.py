from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from model.data.emoji.captions import caption_emoji, with_article
from model.data.emoji.sheets import EmojiSet, load_emoji

SHIPPED = Path(__file__).parents[4] / "deploy" / "data" / "emoji"


def set_of(*captions, style="flat"):
    count = len(captions)
    return EmojiSet(
        images=np.zeros((count, 4, 4, 3), np.uint8),
        labels=np.arange(count),
        classes=tuple(names[0] for names in captions),
        styles=(style,) * count,
        captions=captions,
        keys=("1f34e",) * count,
    )


def test_captions_are_the_names_bare_with_article_and_with_style():
    (captions,) = caption_emoji(set_of(("red apple",)))
    assert set(captions) == {
        "red apple",
        "a red apple",
        "red apple, flat style",
        "a red apple, flat style",
    }


def test_the_bare_name_is_the_first_and_half_of_all():
    for captions in caption_emoji(set_of(("owl",), ("grapes",), ("eggplant", "aubergine"))):
        name = captions[0]
        counts = Counter(captions)
        assert counts.pop(name) == len(captions) / 2
        assert set(counts.values()) == {1}


def test_other_spellings_are_captions_too():
    (captions,) = caption_emoji(set_of(("eggplant", "aubergine"), style="noto"))
    assert {"aubergine", "an aubergine", "an aubergine, noto style"} <= set(captions)


def test_a_spelling_of_several_concepts_belongs_to_none():
    found = caption_emoji(set_of(("red apple", "apple"), ("green apple", "apple"), ("apple pie",)))
    assert all("apple" not in captions for captions in found)
    found = caption_emoji(set_of(("monkey", "ape"), ("monkey face", "monkey")))
    assert "monkey" in found[0]
    assert "monkey" not in found[1]


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("red apple", "a red apple"),
        ("owl", "an owl"),
        ("hourglass", "an hourglass"),
        ("unicorn", "a unicorn"),
        ("ewe", "a ewe"),
        ("one piece swimsuit", "a one piece swimsuit"),
        ("umbrella with rain drops", "an umbrella with rain drops"),
        ("x ray", "an x ray"),
        ("cactus", "a cactus"),
        ("wine glass", "a wine glass"),
        ("rhinoceros", "a rhinoceros"),
        ("nest with eggs", "a nest with eggs"),
        ("cherries", "cherries"),
        ("french fries", "french fries"),
        ("pots of food", "pots of food"),
    ],
)
def test_a_name_gets_the_article_that_it_is_spoken_with(name, spoken):
    assert with_article(name) == spoken


def test_every_shipped_picture_has_captions_of_its_own_style():
    emoji = load_emoji(SHIPPED, concepts=("red apple", "bell"), size=8)
    captions = caption_emoji(emoji)
    assert len(captions) == len(emoji.images) == 6
    for style, own in zip(emoji.styles, captions, strict=True):
        assert {c.rpartition(", ")[2] for c in own if "," in c} == {f"{style} style"}
