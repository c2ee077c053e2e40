import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.data.emoji.index import dump_index, read_index
from model.data.emoji.sheets import load_emoji
from model.data.errors import SelectionRefused, SheetsUnreadable, SizeRefused, UnknownName


def rewrite_index(folder: Path, **changes: object) -> None:
    """Replace top-level fields of a set's index."""
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_concept_of_all_styles_is_loaded_by_name(tiny_set: Path) -> None:
    emoji = load_emoji(tiny_set, size=16)
    assert emoji.classes == ("green apple", "red apple")
    assert emoji.labels.tolist() == [0, 0, 1, 1]
    assert emoji.labels.dtype == np.int64
    assert emoji.styles == ("left", "right", "left", "right")
    assert emoji.keys == ("1f34f", "1f34f", "1f34e", "1f34e")
    assert emoji.captions[0] == ("green apple",)
    assert emoji.images.dtype == np.uint8
    colours = [(0, 255, 0), (0, 0x88, 0), (255, 0, 0), (0x88, 0, 0)]
    for image, colour in zip(emoji.images, colours, strict=True):
        assert (image == colour).all()


def test_labels_follow_the_order_of_the_concepts_given(tiny_set: Path) -> None:
    emoji = load_emoji(tiny_set, concepts=["red apple", "green apple"], styles=["right"], size=16)
    assert emoji.classes == ("red apple", "green apple")
    assert emoji.keys == ("1f34e", "1f34f")
    assert emoji.styles == ("right", "right")


def test_one_style_brings_the_concepts_that_others_lack(tiny_set: Path) -> None:
    assert load_emoji(tiny_set, styles=["left"], size=16).classes == (
        "green apple",
        "lemon",
        "red apple",
    )


def test_a_style_may_be_spread_over_several_sheets(tiny_set: Path) -> None:
    index = read_index(tiny_set)
    renamed = tuple(replace(sheet, style="left") for sheet in index.sheets)
    second = replace(renamed[1], keys=("1f34b", "26a0"))
    first = replace(renamed[0], keys=("1f34e", "1f34f", "unused"))
    (tiny_set / "index.json").write_text(dump_index(replace(index, sheets=(first, second))))
    emoji = load_emoji(tiny_set, size=16)
    assert emoji.classes == ("green apple", "lemon", "red apple")
    assert (emoji.images[1] == (0x88, 0, 0)).all()


@pytest.mark.parametrize("size", [8, 4, 2, 1])
def test_reduction_is_the_rounded_mean_of_whole_blocks(tiny_set: Path, size: int) -> None:
    large = load_emoji(tiny_set, size=16).images.astype(np.float64)
    factor = 16 // size
    blocks = large.reshape(4, size, factor, size, factor, 3).mean(axis=(2, 4))
    np.testing.assert_array_equal(load_emoji(tiny_set, size=size).images, np.rint(blocks))


@pytest.mark.parametrize("size", [0, -8, 5, 32])
def test_a_size_that_does_not_divide_the_tiles_is_refused(tiny_set: Path, size: int) -> None:
    with pytest.raises(SizeRefused, match=f"size {size} px is not one of 1, 2, 4, 8, 16"):
        load_emoji(tiny_set, size=size)


def test_an_unknown_concept_is_named_with_its_neighbours(tiny_set: Path) -> None:
    with pytest.raises(UnknownName, match=r"'red aple'.*nearest: red apple") as caught:
        load_emoji(tiny_set, concepts=["red aple"], size=16)
    assert caught.value.suggestions[0] == "red apple"


def test_a_concept_that_one_chosen_style_lacks_is_unknown(tiny_set: Path) -> None:
    with pytest.raises(UnknownName, match="no concept 'lemon' in the chosen styles"):
        load_emoji(tiny_set, concepts=["lemon"], size=16)


def test_an_unknown_style_is_named_with_its_neighbours(tiny_set: Path) -> None:
    with pytest.raises(UnknownName, match=r"no style 'rigt'.*nearest: right"):
        load_emoji(tiny_set, styles=["rigt"], size=16)


@pytest.mark.parametrize("chosen", [[], ["red apple", "red apple"]])
def test_an_empty_or_repeated_choice_is_refused(tiny_set: Path, chosen: list[str]) -> None:
    with pytest.raises(SelectionRefused, match="concepts must name at least one and none twice"):
        load_emoji(tiny_set, concepts=chosen, size=16)


def test_an_altered_sheet_is_refused(tiny_set: Path) -> None:
    with (tiny_set / "left.webp").open("ab") as sheet:
        sheet.write(b"\0")
    with pytest.raises(SheetsUnreadable, match=r"left\.webp .*sha256"):
        load_emoji(tiny_set, size=16)


def test_a_missing_sheet_is_named(tiny_set: Path) -> None:
    (tiny_set / "left.webp").unlink()
    with pytest.raises(SheetsUnreadable, match=r"left\.webp"):
        load_emoji(tiny_set, size=16)


def test_a_sheet_that_is_no_picture_is_refused(tiny_set: Path) -> None:
    (tiny_set / "left.webp").write_bytes(b"text")
    index = read_index(tiny_set)
    digest = hashlib.sha256(b"text").hexdigest()
    sheets = (replace(index.sheets[0], sha256=digest), *index.sheets[1:])
    (tiny_set / "index.json").write_text(dump_index(replace(index, sheets=sheets)))
    with pytest.raises(SheetsUnreadable, match="does not know its format"):
        load_emoji(tiny_set, size=16)


def test_a_sheet_of_another_shape_than_the_index_says_is_refused(tiny_set: Path) -> None:
    rewrite_index(tiny_set, tile=32)
    with pytest.raises(SheetsUnreadable, match="its size is not 2x2 tiles of 32 px"):
        load_emoji(tiny_set, size=16)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SheetsUnreadable, match=r"index\.json"):
        load_emoji(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"format": 2}, "field 'format' is not 1"), ({"sheets": [{}]}, "missing or malformed")],
)
def test_an_index_of_another_format_is_refused(
    tiny_set: Path, changes: dict[str, object], reason: str
) -> None:
    rewrite_index(tiny_set, **changes)
    with pytest.raises(SheetsUnreadable, match=reason):
        load_emoji(tiny_set, size=16)
