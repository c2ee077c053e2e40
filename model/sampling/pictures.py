"""Images as PNG bytes that say how they were made, and as one grid."""

import io
import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from model.data.emoji.mosaic import join_tiles

SOFTWARE = "dimr-serve"
ORIGIN = "AI-generated"
WHITE = 255


def encode_png(
    pixels: NDArray[np.uint8], *, description: str, parameters: Mapping[str, object]
) -> bytes:
    """Encode an image (H, W, 3) losslessly.

    The text chunks are Software, Description and `parameters` (JSON), with the fields that served
    images have in theirs. Equal arguments give equal bytes.
    """
    text = PngInfo()
    text.add_itxt("Software", SOFTWARE)
    text.add_itxt("Description", description)
    text.add_itxt("parameters", json.dumps(parameters))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", pnginfo=text)
    return out.getvalue()


def grid_columns(classes: int, images_per_class: int) -> int:
    """A number of columns that keeps a class in one row and the grid near a square."""
    side = math.sqrt(classes * images_per_class)
    if classes == 1:
        return math.ceil(side)
    return images_per_class * max(1, round(side / images_per_class))


def join_grid(
    images: Sequence[NDArray[np.uint8]], *, columns: int, scale: int
) -> NDArray[np.uint8]:
    """Lay images (S, S, 3) out in rows with white gaps, each pixel `scale` pixels a side."""
    gap = max(1, len(images[0]) // 16)
    before, after = ((gap, 0), (gap, 0), (0, 0)), ((0, gap), (0, gap), (0, 0))
    tiles = np.stack([np.pad(image, before, constant_values=WHITE) for image in images])
    grid = np.pad(join_tiles(tiles, min(columns, len(images))), after, constant_values=WHITE)
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)
