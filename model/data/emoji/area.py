"""Exact area averaging: how every image of the set is made smaller."""

import numpy as np
from numpy.typing import NDArray


def area_mean(pixels: NDArray[np.integer], factor: int) -> NDArray[np.float64]:
    """Average square blocks of pixels.

    Args:
        pixels: (..., H, W, C) integers; H and W are multiples of `factor`.
        factor: side of a block in pixels, >= 1.

    Returns:
        (..., H / factor, W / factor, C) means, not rounded.
    """
    *batch, height, width, channels = pixels.shape
    blocks = pixels.reshape(*batch, height // factor, factor, width // factor, factor, channels)
    mean: NDArray[np.float64] = blocks.mean(axis=(-4, -2), dtype=np.float64)
    return mean
