import numpy as np
import pytest
from PIL import Image

from model.data.images.crop import centre_crop


def box(distance):
    return ((distance > -0.5) & (distance <= 0.5)).astype(float)


def cubic(distance):
    """Keys' kernel with a = -1/2."""
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resampling(kernel, reach, before, after):
    """(after, before) weights of a filter that is widened when it reduces.

    A pixel at the very edge of a box is in or out by rounding, so the order of operations matters.
    """
    stretch = before / after
    wide = max(stretch, 1.0)
    pixels, centres = np.arange(before)[None], (np.arange(after)[:, None] + 0.5) * stretch
    first, last = (np.floor(centres + side * reach * wide + 0.5) for side in (-1, 1))
    weights = kernel((pixels - centres + 0.5) * (1 / wide)) * (pixels >= first) * (pixels < last)
    return weights / weights.sum(axis=1, keepdims=True)


def resize(image, height, width, kernel, reach):
    """Filter along rows, then along columns; each pass rounds halves up to whole levels."""
    columns = resampling(kernel, reach, image.shape[1], width)
    image = np.floor(np.einsum("xw,hwc->hxc", columns, image) + 0.5).clip(0, 255)
    rows = resampling(kernel, reach, image.shape[0], height)
    return np.floor(np.einsum("yh,hxc->yxc", rows, image) + 0.5).clip(0, 255)


def adm_crop(image, size):
    """The algorithm as ADM states it."""
    while min(image.shape[:2]) >= 2 * size:
        image = resize(image, image.shape[0] // 2, image.shape[1] // 2, box, 0.5)
    ratio = size / min(image.shape[:2])
    height, width = (round(side * ratio) for side in image.shape[:2])
    image = resize(image, height, width, cubic, 2)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (16, 16, 16),
        (8, 8, 16),
        (64, 64, 16),
        (40, 23, 16),
        (23, 41, 16),
        (99, 130, 16),
        (375, 500, 64),
        (32, 200, 16),
        (31, 31, 16),
        (16, 17, 16),
    ],
)
def test_the_crop_is_the_one_of_adm(height, width, size):
    random = np.random.default_rng(height)
    smooth = random.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8)
    picture = Image.fromarray(smooth).resize((width, height), Image.Resampling.BILINEAR)
    found = centre_crop(picture, size)
    assert found.shape == (size, size, 3)
    assert found.dtype == np.uint8
    # Pillow's weights have 8 bits less than a float32's: a level may round the other way
    np.testing.assert_allclose(found, adm_crop(np.asarray(picture), size), atol=1)


def test_a_picture_of_the_right_size_is_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 8), pixels)


def test_halving_twice_is_the_mean_of_sixteen_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    means = pixels.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(centre_crop(Image.fromarray(pixels), 8), means, atol=2)


def test_the_middle_is_kept_and_an_odd_margin_is_larger_at_the_right():
    pixels = np.zeros((8, 13, 3), dtype=np.uint8)
    pixels[:, :, 0] = np.arange(13)
    np.testing.assert_array_equal(
        centre_crop(Image.fromarray(pixels), 8)[0, :, 0], np.arange(2, 10)
    )
