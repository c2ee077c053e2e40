"""Whether a lower scale's clean image can be read off two noisy scales: see ScalesSpec.

The best linear estimate of the low image from both scales, on stationary Gaussian data, against
that from the low scale alone. A leak makes it better than two looks with independent noise.
"""

import math

import numpy as np
import pytest

from model.diffusion.pyramid import image_operator, sinc_operator
from model.diffusion.schedule import CosineSchedule

LOW, HIGH = 4, 16
RATIO = HIGH // LOW
ERROR = 1e-3  # of an activation: no network subtracts exactly


def both_axes(operator):
    return np.kron(operator, operator).astype(np.float64)


def area():
    return np.kron(np.eye(LOW), np.full((1, RATIO), 1 / RATIO))


def corner_aligned():
    """The operator of noise with low samples on high ones: half a pixel off."""
    m, j = np.arange(LOW)[:, None], np.arange(HIGH)
    kept = 1 + 2 * np.cos(2 * np.pi * (RATIO * m - j) / HIGH)
    kept = kept + np.sqrt(2) * np.cos(np.pi * m) * np.cos(np.pi * LOW * j / HIGH)
    return kept / np.sqrt(HIGH * LOW)


def data_covariance():
    """Of images with a falling spectrum and a standard deviation of about a half."""
    waves = np.fft.fftfreq(HIGH) * HIGH
    power = 1 / (1 + np.hypot(waves[:, None], waves)) ** 2
    correlation = np.fft.ifft2(power).real / power.mean()
    place = (np.arange(HIGH)[:, None] - np.arange(HIGH)) % HIGH
    rows = correlation[place[:, None, :, None], place[None, :, None, :]]
    return 0.25 * rows.reshape(HIGH**2, HIGH**2)


def estimates(image, noise, t, *, shift=0.0, shared=1.0):
    """RMSE of the low image from its own scale alone, and from both."""
    low = CosineSchedule(2 * math.log(64 / 128) + shift)
    high = CosineSchedule(2 * math.log(64 / 512))
    (alpha_low, sigma_low), (alpha_high, sigma_high) = (
        (schedule.alpha(t).item(), schedule.sigma(t).item()) for schedule in (low, high)
    )
    image, noise, data = both_axes(image), both_axes(noise), data_covariance()
    clean = image @ data @ image.T
    own = alpha_low**2 * clean + sigma_low**2 * np.eye(LOW**2)
    other = alpha_high**2 * data + sigma_high**2 * np.eye(HIGH**2)
    across = alpha_low * alpha_high * image @ data + shared * sigma_low * sigma_high * noise
    seen = np.block([[own, across], [across.T, other]])
    known = np.hstack([alpha_low * clean, alpha_high * image @ data])

    def rmse(covariance, shares):
        observed = covariance + ERROR**2 * np.eye(len(covariance))
        left = clean - shares @ np.linalg.solve(observed, shares.T)
        return math.sqrt(np.trace(left) / LOW**2)

    return rmse(own, known[:, : LOW**2]), rmse(seen, known)


SINC, IMAGE = sinc_operator(HIGH, LOW).numpy(), image_operator(HIGH, LOW).numpy()
times = pytest.mark.parametrize("t", [0.3, 0.6, 0.9])


@times
def test_one_operator_and_no_delay_leak_nothing(t):
    alone, both = estimates(IMAGE, SINC, t)
    assert both == pytest.approx(alone, rel=1e-3)


@times
def test_cell_means_as_the_one_operator_leak_nothing_either(t):
    """A check of this probe: sums over cells, of orthonormal rows, are another valid choice."""
    alone, both = estimates(area(), area() * math.sqrt(RATIO), t)
    assert both == pytest.approx(alone, rel=1e-2)


@times
def test_a_delay_under_shared_noise_gives_the_clean_image_away(t):
    alone, both = estimates(IMAGE, SINC, t, shift=math.log(2))
    assert both < 0.15 * alone


def test_a_small_delay_leaks_already():
    alone, both = estimates(IMAGE, SINC, 0.3, shift=0.1)
    assert both < 0.2 * alone


@times
@pytest.mark.parametrize("image", [IMAGE, area()], ids=["sinc", "area"])
def test_noise_half_a_pixel_off_leaks(image, t):
    _, honest = estimates(image, SINC, t, shared=0.0)
    alone, both = estimates(image, corner_aligned(), t)
    assert both < 0.8 * alone
    assert both < 0.85 * honest


@times
def test_independent_noise_is_a_second_look_and_no_leak(t):
    """Equal noise at both scales: two looks are one with half of its variance."""
    alone, both = estimates(IMAGE, SINC, t, shared=0.0)
    assert 0.7 * alone < both < alone


@times
def test_a_delay_with_little_in_common_leaks_nothing(t):
    """What ScalesSpec allows: never more than a second look with noise of its own."""
    delta = math.log(2)
    most = 1 / math.cosh(delta / 2)
    _, honest = estimates(IMAGE, SINC, t, shift=-delta, shared=0.0)
    _, allowed = estimates(IMAGE, SINC, t, shift=-delta, shared=most)
    _, refused = estimates(IMAGE, SINC, t, shift=-delta, shared=1.0)
    assert allowed > 0.99 * honest
    assert refused < 0.3 * honest
