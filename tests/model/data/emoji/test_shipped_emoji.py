import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from model.data.emoji.build import EXCLUDED, GROUPS, NOTICE_NAME
from model.data.emoji.index import Index, read_index
from model.data.emoji.sheets import EmojiSet, load_emoji
from model.data.errors import UnknownName
from model.specs.data import EmojiData
from model.specs.files import read_recipe

FOLDER = Path(__file__).parents[4] / "deploy" / "data" / "emoji"
STYLES = ("noto", "flat", "gradient")
EXPECTED_OF_A_NEWCOMER = """
red apple, green apple, tiger face, panda, strawberry, pizza, hamburger, doughnut, watermelon,
cactus, tulip, evergreen tree, butterfly, lady beetle, penguin, frog, avocado, banana, lemon,
cherries, grapes, carrot, sunflower, mushroom
"""


@pytest.fixture(scope="module")
def index() -> Index:
    return read_index(FOLDER)


@pytest.fixture(scope="module")
def classes() -> tuple[str, ...]:
    data = read_recipe("emoji-32").data
    assert isinstance(data, EmojiData)
    return data.concepts


@pytest.fixture(scope="module")
def demo(classes: tuple[str, ...]) -> EmojiSet:
    return load_emoji(FOLDER, concepts=classes, size=32)


def test_the_set_has_the_documented_counts(index: Index) -> None:
    counts = {sheet.style: len(sheet.keys) for sheet in index.sheets}
    assert counts == {"noto": 1020, "flat": 1015, "gradient": 1015}
    assert index.styles == STYLES
    assert index.tile == 64
    assert len(index.concepts) == 1020


def test_names_and_keys_are_unique_and_captions_unambiguous(index: Index) -> None:
    names = {concept.name for concept in index.concepts}
    captions = [caption for concept in index.concepts for caption in concept.captions]
    assert len(names) == len({concept.key for concept in index.concepts}) == len(index.concepts)
    assert len(captions) == len(set(captions))
    assert not names & set(captions)
    assert all(re.fullmatch(r"[a-z0-9 ]+", text) for text in (*names, *captions))


def test_only_kept_groups_and_no_excluded_emoji_are_in_the_set(index: Index) -> None:
    assert {concept.group for concept in index.concepts} == set(GROUPS)
    assert not EXCLUDED.keys() & {concept.key for concept in index.concepts}


def test_sheets_are_the_ones_in_the_index_and_the_readme_and_fit_in_git(index: Index) -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for sheet in index.sheets:
        content = (FOLDER / sheet.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sheet.sha256
        assert f"`{sheet.file}` | `{sheet.sha256}`" in readme
        assert len(content) < 16 * 2**20


def test_the_readme_lists_every_exclusion() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for reason in EXCLUDED.values():
        concept, _, _ = reason.partition(":")
        assert f"| {concept} |" in readme


def test_the_shipped_notice_is_the_builders() -> None:
    builders = Path(__file__).parents[4] / "model" / "data" / "emoji" / NOTICE_NAME
    assert (FOLDER / NOTICE_NAME).read_bytes() == builders.read_bytes()


def test_the_demo_classes_are_96_pictures_in_three_styles(
    demo: EmojiSet, classes: tuple[str, ...]
) -> None:
    assert len(classes) == 96
    assert demo.images.shape == (288, 32, 32, 3)
    assert demo.classes == classes
    assert np.bincount(demo.labels).tolist() == [3] * 96
    assert demo.styles == STYLES * 96


def test_the_demo_classes_hold_what_a_newcomer_types(classes: tuple[str, ...]) -> None:
    asked = {name.strip() for name in EXPECTED_OF_A_NEWCOMER.split(",")}
    assert len(asked) == 24
    assert asked <= set(classes)


def test_every_demo_picture_stands_on_white_and_none_is_drawn_twice(demo: EmojiSet) -> None:
    white_share = (demo.images == 255).all(axis=-1).mean(axis=(1, 2))
    assert white_share.min() > 0.1
    assert white_share.max() < 0.9
    assert len({image.tobytes() for image in demo.images}) == len(demo.images)


def test_red_and_green_apples_are_red_and_green(demo: EmojiSet) -> None:
    for name, channel in (("red apple", 0), ("green apple", 1)):
        apples = demo.images[demo.labels == demo.classes.index(name)]
        assert (apples[:, 16, 10].argmax(axis=-1) == channel).all()


def test_small_images_are_the_exact_means_of_the_shipped_tiles(demo: EmojiSet) -> None:
    large = load_emoji(FOLDER, concepts=demo.classes[:8])
    sums = large.images.astype(np.int64).reshape(24, 32, 2, 32, 2, 3).sum(axis=(2, 4))
    np.testing.assert_array_equal(demo.images[:24], np.rint(sums / 4))


def test_loading_twice_gives_the_same_set(demo: EmojiSet) -> None:
    again = load_emoji(FOLDER, concepts=demo.classes, size=32)
    np.testing.assert_array_equal(again.images, demo.images)
    np.testing.assert_array_equal(again.labels, demo.labels)
    assert (again.classes, again.styles, again.captions, again.keys) == (
        demo.classes,
        demo.styles,
        demo.captions,
        demo.keys,
    )


def test_a_misspelt_concept_suggests_the_right_one() -> None:
    with pytest.raises(UnknownName, match=r"strawbery.*strawberry"):
        load_emoji(FOLDER, concepts=["strawbery"])
