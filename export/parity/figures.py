"""Figures of closeness: peak signal-to-noise ratio of images, relative error of tensors."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.specs.manifest import MOST_PSNR_DB

PEAK = 255


def psnr_db(found: NDArray[np.uint8], exact: NDArray[np.uint8]) -> float:
    """10 log10(255^2 / MSE) of two images of one shape, at most `MOST_PSNR_DB`."""
    error = float(np.mean((found.astype(np.float64) - exact.astype(np.float64)) ** 2))
    return MOST_PSNR_DB if error == 0 else min(10 * math.log10(PEAK**2 / error), MOST_PSNR_DB)


def relative_error(found: Tensor, exact: Tensor) -> float:
    """||found - exact|| / ||exact|| over all elements, in float64.

    Infinite where `found` is not finite, or where it differs from an `exact` of zeros.
    """
    found, exact = found.detach().cpu().double(), exact.detach().cpu().double()
    error, size = (found - exact).norm().item(), exact.norm().item()
    if error == 0:
        return 0.0
    return error / size if math.isfinite(error) and size > 0 else math.inf


def written(value: float) -> float | None:
    """As JSON has it: six digits, null where it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
