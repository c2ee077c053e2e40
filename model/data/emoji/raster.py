"""SVG markup to an RGB tile on white."""

import io

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from model.data.emoji.area import area_mean
from model.data.errors import IconUnusable

OVERSAMPLING = 2
"""Rendered pixels per tile pixel and axis, averaged down afterwards."""


def rasterise(name: str, svg: str, size: int) -> NDArray[np.uint8]:
    """Draw a square SVG over white.

    Args:
        name: what an error calls the icon.
        svg: markup whose viewBox is square; system fonts are never used.
        size: side of the result in pixels.

    Returns:
        (size, size, 3) uint8 sRGB values, rounded to nearest.

    Raises:
        IconUnusable: the renderer rejects the markup or draws nothing.
    """
    side = size * OVERSAMPLING
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True)
    except ValueError as error:
        raise IconUnusable(name, f"the renderer says {error}") from error
    with Image.open(io.BytesIO(png)) as image:
        rgba = np.asarray(image.convert("RGBA"), dtype=np.int64)
    if rgba.shape != (side, side, 4):
        raise IconUnusable(name, f"drawn as {rgba.shape[1]}x{rgba.shape[0]} px, not {side}x{side}")
    if not rgba[..., 3].any():
        raise IconUnusable(name, "it draws nothing")
    return _over_white(rgba)


def _over_white(rgba: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Composite before averaging, in exact integers: 255 * colour = c * a + 255 * (255 - a)."""
    colour, opacity = rgba[..., :3], rgba[..., 3:]
    composite = colour * opacity + 255 * (255 - opacity)
    return np.rint(area_mean(composite, OVERSAMPLING) / 255).astype(np.uint8)
