"""Tiles side by side in one picture, and back."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TILE_SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Sides of a tile in pixels that a set can be built with: powers of two and their 3/2."""

SHEET_SUFFIX = ".webp"
SIDE_LIMIT = 4096
"""Longest side of a sheet in pixels: any decoder holds one (48 MiB) without trouble."""


def tiles_per_sheet(tile: int) -> int:
    """How many tiles of `tile` pixels a sheet may hold."""
    return (SIDE_LIMIT // tile) ** 2


def columns_for(count: int) -> int:
    """Columns of the squarest grid that holds `count` tiles."""
    return math.ceil(math.sqrt(count))


def join_tiles(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Lay (N, S, S, 3) tiles out row by row; unused places at the end are white."""
    count, size = tiles.shape[:2]
    rows = math.ceil(count / columns)
    grid = np.full((rows * columns, size, size, 3), 255, dtype=np.uint8)
    grid[:count] = tiles
    grid = grid.reshape(rows, columns, size, size, 3).swapaxes(1, 2)
    return grid.reshape(rows * size, columns * size, 3)


def cut_tiles(sheet: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    """Inverse of `join_tiles`, unused places included: (H, W, 3) to (N, tile, tile, 3)."""
    rows, columns = sheet.shape[0] // tile, sheet.shape[1] // tile
    grid = sheet.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2)
    return grid.reshape(rows * columns, tile, tile, 3)


def encode_sheet(sheet: NDArray[np.uint8]) -> bytes:
    """Lossless WebP of an (H, W, 3) picture; a fifth to a half smaller than PNG here."""
    content = io.BytesIO()
    Image.fromarray(sheet).save(content, "WEBP", lossless=True, quality=100, method=4)
    return content.getvalue()
