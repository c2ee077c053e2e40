"""Figures of closeness, against what they are by hand."""

import math

import numpy as np
import pytest
import torch

from export.parity.figures import psnr_db, relative_error, written
from model.specs.manifest import MOST_PSNR_DB


def test_one_level_everywhere_is_48_db():
    exact = np.full((4, 4, 3), 100, np.uint8)
    assert psnr_db(exact + np.uint8(1), exact) == pytest.approx(20 * math.log10(255))


def test_levels_do_not_wrap_around():
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert psnr_db(black, white) == psnr_db(white, black) == 0


def test_images_that_are_the_same_have_the_largest_value():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert psnr_db(image, image.copy()) == MOST_PSNR_DB


def test_an_error_is_relative_to_what_is_exact():
    assert relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_infinitely_wrong_and_null_in_json(value):
    error = relative_error(torch.tensor([1.0, value]), torch.ones(2))
    assert error == math.inf
    assert written(error) is None
    assert relative_error(torch.ones(2), torch.zeros(2)) == math.inf
