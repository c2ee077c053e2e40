from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.data.emoji.build import (
    EXCLUDED,
    NOTICE_NAME,
    Sources,
    Style,
    build_emoji,
    key_names,
    publish,
    select_concepts,
    split_sheets,
)
from model.data.emoji.icons import IconSet
from model.data.emoji.index import read_index
from model.data.emoji.mosaic import cut_tiles
from model.data.errors import IconUnusable, OutputExists, SizeRefused


def silent(_style: str, _total: int) -> None:
    """A caller that does not watch."""


def test_concepts_are_the_kept_groups_in_unicode_order(records: list[Mapping[str, Any]]) -> None:
    names = {"1f34e": "red-apple", "1f34f": "green-apple", "26a0": "warning"}
    assert [c.name for c in select_concepts(records, names)] == ["red apple", "green apple"]


def test_an_excluded_emoji_is_left_out_whatever_its_group(
    records: list[Mapping[str, Any]],
) -> None:
    key = next(iter(EXCLUDED))
    hospital = {**records[0], "unified": key.upper(), "name": "HOSPITAL"}
    names = {"1f34e": "red-apple", key: "hospital"}
    assert [c.key for c in select_concepts([*records, hospital], names)] == ["1f34e"]


def test_captions_are_words_that_mean_only_this_concept(
    records: list[Mapping[str, Any]],
) -> None:
    lemon = {
        **records[2],
        "name": "SOUR CITRUS FRUIT",
        "short_names": ["lemon", "red-apple", "lemon2", "shit", "yellow_citrus", "yellow-citrus"],
    }
    names = {"1f34e": "red-apple", "1f34b": "lemon"}
    captions = {c.name: c.captions for c in select_concepts([records[1], lemon], names)}
    assert captions == {"red apple": (), "lemon": ("sour citrus fruit", "yellow citrus")}


def test_characters_are_joined_by_key() -> None:
    chars = {"0023-fe0f-20e3": "keycap", "2600-FE0F": "sun"}
    assert key_names(chars) == {"23-20e3": "keycap", "2600": "sun"}


def test_a_published_set_holds_every_style_of_every_concept(tiny_set: Path) -> None:
    index = read_index(tiny_set)
    assert index.tile == 16
    assert [c.name for c in index.concepts] == ["red apple", "green apple", "lemon"]
    assert {s.style: s.keys for s in index.sheets} == {
        "left": ("1f34e", "1f34f", "1f34b"),
        "right": ("1f34e", "1f34f"),
    }
    with Image.open(tiny_set / "right.webp") as image:
        tiles = cut_tiles(np.asarray(image.convert("RGB")), 16)
    assert (tiles[0] == (0x88, 0, 0)).all()
    assert (tiles[1] == (0, 0x88, 0)).all()


def test_a_published_set_carries_the_licences(tiny_set: Path) -> None:
    notice = (tiny_set / NOTICE_NAME).read_text(encoding="utf-8")
    assert "Apache License" in notice
    assert "Copyright (c) Microsoft Corporation" in notice


def test_nothing_is_left_behind_when_an_icon_cannot_be_drawn(
    sources: Sources, tmp_path: Path
) -> None:
    broken = Style("broken", IconSet({"icons": {"lemon": {"body": ""}}}), {"1f34b": "lemon"})
    with pytest.raises(IconUnusable, match="lemon"):
        publish(
            replace(sources, styles=(*sources.styles, broken)),
            tmp_path / "out",
            size=16,
            progress=silent,
        )
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_never_touched(tiny_set: Path, sources: Sources) -> None:
    before = {path.name: path.read_bytes() for path in tiny_set.iterdir()}
    with pytest.raises(OutputExists, match="tiny exists"):
        publish(sources, tiny_set, size=16, progress=silent)
    assert {path.name: path.read_bytes() for path in tiny_set.iterdir()} == before


@pytest.mark.parametrize("size", [0, 8, 20, 1024])
def test_a_size_out_of_range_is_refused_before_anything_is_fetched(
    size: int, tmp_path: Path
) -> None:
    with pytest.raises(SizeRefused, match=rf"size {size} px is not one of 16, .*512"):
        build_emoji(tmp_path / "packages", tmp_path / "out", size=size, progress=silent)
    assert not list(tmp_path.iterdir())


def test_every_picture_is_reported_once(sources: Sources, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    publish(sources, tmp_path / "out", size=16, progress=lambda s, n: seen.append((s, n)))
    assert seen == [("left", 3)] * 3 + [("right", 2)] * 2


def test_keys_beyond_a_sheets_capacity_go_to_numbered_sheets() -> None:
    assert split_sheets("noto", ["a", "b"], 2) == {"noto": ["a", "b"]}
    assert split_sheets("noto", ["a", "b", "c"], 2) == {"noto-1": ["a", "b"], "noto-2": ["c"]}
