"""A data set of three plain drawings in two styles, and an untrained bundle that names it."""

import hashlib

import numpy as np
import pytest

from model.bundle import write_bundle
from model.data.index import INDEX_NAME, Concept, Index, Sheet, dump_index
from model.data.mosaic import encode_sheet, join_tiles
from model.denoisers.dimr import DiMR

KEYS = ("61", "62", "63")
STYLE_DIFFERENCE = 20  # levels of every dark pixel


def drawings(dark):
    """A dark top, a dark left and a red square, each (16, 16, 3)."""
    tiles = np.full((3, 16, 16, 3), 255, dtype=np.uint8)
    tiles[0, :8] = dark
    tiles[1, :, :8] = dark
    tiles[2, 4:12, 4:12, 1:] = dark
    return tiles


@pytest.fixture
def data_folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    sheets = []
    for style, dark in (("plain", 0), ("pale", STYLE_DIFFERENCE)):
        content = encode_sheet(join_tiles(drawings(dark), 2))
        (folder / f"{style}.webp").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        sheets.append(Sheet(style, f"{style}.webp", digest, columns=2, keys=KEYS))
    concepts = tuple(Concept(key, bytes.fromhex(key).decode(), "g", "s", ()) for key in KEYS)
    (folder / INDEX_NAME).write_text(dump_index(Index(16, concepts, tuple(sheets))))
    (folder / "NOTICE").write_text("Drawn by nobody, free for all.\n")
    return folder


@pytest.fixture
def bundle_folder(tiny_recipe, tmp_path):
    network = DiMR(tiny_recipe.network)
    return write_bundle(tmp_path / "bundle", tiny_recipe, network, ("a", "b", "c"), steps=6)
