"""The centre crop of ADM (arXiv:2105.05233), which ImageNet figures are compared on."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def centre_crop(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Reduce an RGB image to its short side and cut out the middle: (size, size, 3).

    While the short side is at least 2 `size`, a box filter halves both sides (rounded down); then
    a bicubic filter brings the short side to `size`, up or down. An odd margin is larger at the
    right and at the bottom.
    """
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)))  # writable: torch insists
