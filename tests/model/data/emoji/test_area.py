import numpy as np

from model.data.emoji.area import area_mean


def test_each_result_is_the_mean_of_its_own_block() -> None:
    pixels = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    reduced = area_mean(pixels, 2)
    assert reduced.shape == (2, 2, 3, 3)
    np.testing.assert_array_equal(reduced[1, 0, 2], pixels[1, 0:2, 4:6].mean(axis=(0, 1)))


def test_large_sums_do_not_overflow_the_input_type() -> None:
    white = np.full((8, 8, 3), 255, dtype=np.uint8)
    np.testing.assert_array_equal(area_mean(white, 8), np.full((1, 1, 3), 255.0))


def test_a_factor_of_one_changes_nothing() -> None:
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(area_mean(pixels, 1), pixels)
