"""The rasterised emoji set: which pictures, under which names, in which sheets."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.emoji.icons import IconSet, codepoint_key
from model.data.emoji.index import INDEX_NAME, Concept, Index, Sheet, dump_index
from model.data.emoji.mosaic import (
    SHEET_SUFFIX,
    TILE_SIZES,
    columns_for,
    encode_sheet,
    join_tiles,
    tiles_per_sheet,
)
from model.data.emoji.packages import PACKAGES, fetch, read_json
from model.data.emoji.raster import rasterise
from model.data.errors import OutputExists, SizeRefused

NOTICE_NAME = "NOTICE"
GROUPS = (
    "Smileys & Emotion",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
)
EXCLUDED: Mapping[str, str] = {
    "1f3e5": "hospital: a red cross on white is a protected emblem",
    "1f691": "ambulance: the star of life or the red cross's shape as a badge",
    "26d1": "rescue worker's helmet: a white cross on red is a coat of arms",
    "1f3e3": "japanese post office: the mark of the postal service",
    "1f47e": "alien monster: the character of an arcade game",
    "1f5fc": "tokyo tower: a building whose outline is used as a trade mark",
}
"""Codepoint key to the reason; found by looking at every picture of the kept groups."""

UNSUITABLE_CAPTIONS = frozenset({"iphone", "shit"})
_HANDLE = re.compile(r"[a-z]\d")  # cat2, clock530: identifiers rather than language

Progress = Callable[[str, int], None]
"""Called after every picture with its style and how many pictures that style has in all."""


@dataclass(frozen=True, slots=True)
class Style:
    """An icon set and how its icons are named: `names` maps codepoint key to icon name."""

    name: str
    icons: IconSet
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sources:
    """What a set is built from; the first style's icon names name the concepts."""

    styles: tuple[Style, ...]
    records: Sequence[Mapping[str, Any]]
    """`emoji.json` of emoji-datasource; skin tones are not records of their own."""


def build_emoji(packages: Path, out: Path, *, size: int, progress: Progress) -> Index:
    """Fetch, draw and write the whole set as a new folder that appears complete or not at all.

    Args:
        packages: cache of package archives; missing ones are downloaded into it.
        out: folder to make; it must not exist.
        size: side of a tile in pixels, one of `TILE_SIZES`.
        progress: told after every picture.

    Raises:
        SizeRefused: `size` is not one of `TILE_SIZES`.
        OutputExists: `out` is there already.
        DataError: a package cannot be had or an icon cannot be drawn.
    """
    _refuse(out, size)
    return publish(read_sources(packages), out, size=size, progress=progress)


def publish(sources: Sources, out: Path, *, size: int, progress: Progress) -> Index:
    """`build_emoji` from sources already read."""
    _refuse(out, size)
    concepts = select_concepts(sources.records, sources.styles[0].names)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        aside = Path(scratch) / "set"
        aside.mkdir()
        index = write_set(sources.styles, concepts, aside, size=size, progress=progress)
        shutil.copyfile(Path(__file__).with_name(NOTICE_NAME), aside / NOTICE_NAME)
        aside.rename(out)
    return index


def _refuse(out: Path, size: int) -> None:
    if size not in TILE_SIZES:
        raise SizeRefused(size, TILE_SIZES)
    if out.exists():
        raise OutputExists(out)


def read_sources(packages: Path) -> Sources:
    """Fetch the four pinned packages and read the three permissively licensed styles."""
    noto, flat, gradient, datasource = (fetch(package, packages) for package in PACKAGES)
    noto_names, flat_names = (key_names(read_json(p, "chars.json", dict)) for p in (noto, flat))
    return Sources(
        styles=(
            Style("noto", IconSet(read_json(noto, "icons.json", dict)), noto_names),
            Style("flat", IconSet(read_json(flat, "icons.json", dict)), flat_names),
            # This package maps no characters; it names its icons as the flat one does.
            Style("gradient", IconSet(read_json(gradient, "icons.json", dict)), flat_names),
        ),
        records=read_json(datasource, "emoji.json", list),
    )


def key_names(chars: Mapping[str, str]) -> dict[str, str]:
    """Codepoint key to icon name, from a package's `chars.json`."""
    return {codepoint_key(sequence): name for sequence, name in chars.items()}


def select_concepts(
    records: Iterable[Mapping[str, Any]], names: Mapping[str, str]
) -> tuple[Concept, ...]:
    """The kept emoji that `names` has, in Unicode's own order.

    Args:
        records: `emoji.json` of emoji-datasource; skin tones are not records of their own.
        names: codepoint key to the icon name that becomes the concept's name.
    """
    wanted = names.keys() - EXCLUDED.keys()
    kept = [
        record
        for record in sorted(records, key=_unicode_order)
        if record["category"] in GROUPS and codepoint_key(record["unified"]) in wanted
    ]
    keys = [codepoint_key(record["unified"]) for record in kept]
    spoken = [names[key].replace("-", " ") for key in keys]
    return tuple(
        Concept(
            key=key,
            name=name,
            group=record["category"],
            subgroup=record["subcategory"],
            captions=_captions(record, unwanted={*spoken, *UNSUITABLE_CAPTIONS}),
        )
        for key, name, record in zip(keys, spoken, kept, strict=True)
    )


def _unicode_order(record: Mapping[str, Any]) -> int:
    order: int = record["sort_order"]
    return order


def _captions(record: Mapping[str, Any], *, unwanted: Set[str]) -> tuple[str, ...]:
    """Other spellings of a concept; none is the name of a concept, so each means one thing."""
    spellings = [record["name"].lower(), *record["short_names"]]
    captions = dict.fromkeys(s.replace("_", " ").replace("-", " ") for s in spellings)
    return tuple(c for c in captions if c not in unwanted and not _HANDLE.search(c))


def write_set(
    styles: Sequence[Style],
    concepts: Sequence[Concept],
    folder: Path,
    *,
    size: int,
    progress: Progress,
) -> Index:
    """Draw every concept in every style that has it; write the sheets and their index."""
    sheets: list[Sheet] = []
    for style in styles:
        keys = [c.key for c in concepts if style.names.get(c.key, "") in style.icons]
        drawn = partial(progress, style.name, len(keys))
        for stem, part in split_sheets(style.name, keys, tiles_per_sheet(size)).items():
            tiles = _draw(style, part, size, drawn)
            sheets.append(_write_sheet(stem, style.name, part, tiles, folder))
    index = Index(tile=size, concepts=tuple(concepts), sheets=tuple(sheets))
    (folder / INDEX_NAME).write_text(dump_index(index), encoding="utf-8")
    return index


def split_sheets(style: str, keys: Sequence[str], capacity: int) -> dict[str, Sequence[str]]:
    """File stem to the keys on that sheet, in order; numbered only where one is not enough."""
    if len(keys) <= capacity:
        return {style: keys}
    starts = range(0, len(keys), capacity)
    return {f"{style}-{i}": keys[at : at + capacity] for i, at in enumerate(starts, start=1)}


def _draw(
    style: Style, keys: Sequence[str], size: int, drawn: Callable[[], None]
) -> NDArray[np.uint8]:
    tiles = np.empty((len(keys), size, size, 3), dtype=np.uint8)
    for tile, key in zip(tiles, keys, strict=True):
        name = style.names[key]
        tile[:] = rasterise(name, style.icons.svg(name), size)
        drawn()
    return tiles


def _write_sheet(
    stem: str, style: str, keys: Sequence[str], tiles: NDArray[np.uint8], folder: Path
) -> Sheet:
    columns = columns_for(len(keys))
    content = encode_sheet(join_tiles(tiles, columns))
    path = folder / f"{stem}{SHEET_SUFFIX}"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return Sheet(style=style, file=path.name, sha256=digest, columns=columns, keys=tuple(keys))
