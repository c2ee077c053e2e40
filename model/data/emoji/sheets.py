"""The shipped emoji set as arrays: what training and evaluation read."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model.data.emoji.area import area_mean
from model.data.emoji.index import Concept, Index, Sheet, read_index
from model.data.emoji.mosaic import cut_tiles
from model.data.errors import SelectionRefused, SheetsUnreadable, SizeRefused, UnknownName


@dataclass(frozen=True, slots=True, eq=False)
class EmojiSet:
    """N images with what is known of each; every per-image field has length N.

    Images are ordered by class, then by style. `labels[i]` indexes `classes`.
    """

    images: NDArray[np.uint8]
    """(N, size, size, 3) sRGB on white."""
    labels: NDArray[np.int64]
    """(N,) in [0, len(classes))."""
    classes: tuple[str, ...]
    styles: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    """The class's name first, then other spellings of it; none mentions the style."""
    keys: tuple[str, ...]
    """Lower-case hexadecimal code points joined by "-"."""


def load_emoji(
    folder: Path,
    *,
    styles: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    size: int = 64,
) -> EmojiSet:
    """Read a set, verify its sheets and reduce every image by exact area averaging.

    Args:
        folder: holds `index.json` and the sheets it names.
        styles: which styles, in which order; None means all, in the index's order.
        concepts: the classes in label order; None means every concept that all chosen styles
            have, sorted by name.
        size: side of the images in pixels; divides the side of the sheets' tiles.

    Raises:
        SheetsUnreadable: a file is missing, altered or of another format.
        SizeRefused: `size` does not divide the tiles' side.
        UnknownName: a style or a concept that is not in the set, or not in every chosen style.
        SelectionRefused: no style or concept is left, or one is named twice.
    """
    index = read_index(folder)
    if size < 1 or index.tile % size:
        raise SizeRefused(size, (n for n in range(1, index.tile + 1) if index.tile % n == 0))
    chosen_styles = _choose("style", styles, index.styles)
    present = _concepts_in_all(index, chosen_styles)
    classes = _choose("concept", concepts, sorted(present))
    wanted = [(present[name], style) for name in classes for style in chosen_styles]
    tiles = _read_tiles(folder, index, chosen_styles, {c.key for c, _ in wanted}, size)
    return EmojiSet(
        images=np.stack([tiles[style, concept.key] for concept, style in wanted]),
        labels=np.repeat(np.arange(len(classes), dtype=np.int64), len(chosen_styles)),
        classes=classes,
        styles=tuple(style for _, style in wanted),
        captions=tuple((concept.name, *concept.captions) for concept, _ in wanted),
        keys=tuple(concept.key for concept, _ in wanted),
    )


def _choose(kind: str, asked: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The names asked for, or all that are known; each known and named once."""
    chosen = tuple(known if asked is None else asked)
    for name in chosen:
        if name not in known:
            raise UnknownName(kind, name, known)
    if not chosen or len(set(chosen)) != len(chosen):
        raise SelectionRefused(kind, chosen)
    return chosen


def _concepts_in_all(index: Index, styles: Sequence[str]) -> dict[str, Concept]:
    """Concepts, by name, that every one of `styles` draws."""
    drawn = {style: set[str]() for style in styles}
    for sheet in index.sheets:
        if sheet.style in drawn:
            drawn[sheet.style].update(sheet.keys)
    common = set.intersection(*drawn.values())
    return {concept.name: concept for concept in index.concepts if concept.key in common}


def _read_tiles(
    folder: Path, index: Index, styles: Sequence[str], keys: set[str], size: int
) -> dict[tuple[str, str], NDArray[np.uint8]]:
    """(style, key) to a (size, size, 3) image, for the styles and keys given."""
    tiles: dict[tuple[str, str], NDArray[np.uint8]] = {}
    for sheet in index.sheets:
        if sheet.style not in styles:
            continue
        places = [place for place, key in enumerate(sheet.keys) if key in keys]
        cut = cut_tiles(_read_sheet(folder, sheet, index.tile), index.tile)[places]
        reduced = np.rint(area_mean(cut, index.tile // size)).astype(np.uint8)
        tiles.update(
            ((sheet.style, sheet.keys[place]), image)
            for place, image in zip(places, reduced, strict=True)
        )
    return tiles


def _read_sheet(folder: Path, sheet: Sheet, tile: int) -> NDArray[np.uint8]:
    """One sheet as (H, W, 3), refused unless it is byte for byte the one in the index."""
    path = folder / sheet.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SheetsUnreadable(path, str(error)) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sheet.sha256:
        raise SheetsUnreadable(path, f"sha256 is {found}, the index says {sheet.sha256}")
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise SheetsUnreadable(path, "this Pillow does not know its format") from error
    rows = -(-len(sheet.keys) // sheet.columns)
    if pixels.shape != (rows * tile, sheet.columns * tile, 3):
        raise SheetsUnreadable(path, f"its size is not {sheet.columns}x{rows} tiles of {tile} px")
    return pixels
