import io

import numpy as np
from PIL import Image

from model.data.emoji.mosaic import (
    SIDE_LIMIT,
    TILE_SIZES,
    columns_for,
    cut_tiles,
    encode_sheet,
    join_tiles,
    tiles_per_sheet,
)


def test_cutting_undoes_joining_and_unused_places_are_white() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    sheet = join_tiles(tiles, columns=3)
    assert sheet.shape == (32, 48, 3)
    np.testing.assert_array_equal(sheet[16:, 16:32], tiles[4])
    cut = cut_tiles(sheet, 16)
    np.testing.assert_array_equal(cut[:5], tiles)
    assert (cut[5:] == 255).all()


def test_an_encoded_sheet_keeps_every_value() -> None:
    sheet = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_sheet(sheet))) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), sheet)


def test_a_full_sheet_of_any_tile_size_stays_within_the_limit() -> None:
    for tile in TILE_SIZES:
        assert columns_for(tiles_per_sheet(tile)) * tile <= SIDE_LIMIT
