"""Several scales of one image and of one noise."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from model.diffusion.errors import ParameterRejected
from model.diffusion.pyramid import Pyramid, image_operator, resample, sinc_operator
from model.diffusion.schedule import CosineSchedule

SHAPES = [
    (2, 1),
    (4, 2),
    (16, 4),
    (15, 5),
    (15, 6),
    (21, 20),
    (31, 7),
    (48, 32),
    (64, 63),
    (100, 37),
    (512, 128),
    (512, 384),
]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("high", "low"), SHAPES)
def test_the_rows_of_the_operator_are_orthonormal(high, low):
    operator = sinc_operator(high, low)
    assert operator.shape == (low, high)
    assert operator.dtype == torch.float32
    assert_close(operator @ operator.mT, torch.eye(low), rtol=0, atol=1e-5)


@given(high=st.integers(1, 64), low=st.integers(1, 64))
def test_orthonormal_rows_and_gain_are_those_of_every_shape(high, low):
    if low > high:
        low, high = high, low
    operator = sinc_operator(high, low)
    assert_close(operator @ operator.mT, torch.eye(low), rtol=0, atol=1e-5)
    assert_close(operator.sum(1), torch.full((low,), math.sqrt(high / low)), rtol=0, atol=1e-5)


def test_the_operator_is_the_one_written_out_with_cosines():
    high, low, ratio = 12, 8, 1.5
    at = torch.arange(low, dtype=torch.float64) * ratio + (ratio - 1) / 2
    distance = at[:, None] - torch.arange(high, dtype=torch.float64)
    kept = sum(torch.cos(2 * math.pi * k * distance / high) for k in range(-3, 4))
    last = torch.cos(math.pi * low * ((ratio - 1) / 2 - torch.arange(high)) / high)
    sign = torch.tensor([1.0, -1.0]).repeat(low // 2)
    kept = kept + math.sqrt(2) * sign[:, None] * last
    assert_close(sinc_operator(high, low), (kept / math.sqrt(high * low)).float())


def test_a_wave_that_both_grids_know_is_sampled_half_a_pixel_in():
    """The centres of low pixels lie between high ones: a corner-aligned grid would be off here."""
    high, low, waves = 64, 16, 5
    wave = torch.sin(2 * math.pi * waves * (torch.arange(high) + 0.5) / high)
    sampled = torch.sin(2 * math.pi * waves * (torch.arange(low) + 0.5) / low)
    assert_close(image_operator(high, low) @ wave, sampled, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("high", "low"), SHAPES)
def test_a_constant_image_stays_and_constant_noise_gains_the_ratio(high, low):
    constant = torch.full((1, 1, high, high), 0.7)
    image = resample(constant, image_operator(high, low))
    noise = resample(constant, sinc_operator(high, low))
    assert_close(image, torch.full((1, 1, low, low), 0.7), rtol=0, atol=1e-5)
    assert_close(noise, torch.full((1, 1, low, low), 0.7 * high / low), rtol=1e-5, atol=0)


def test_the_mean_of_an_image_stays():
    x = draw(2, 3, 48, 48)
    assert_close(resample(x, image_operator(48, 15)).mean((2, 3)), x.mean((2, 3)))


@pytest.mark.parametrize("sides", [(512, 256, 128), (60, 30, 15), (48, 24, 8), (81, 27, 9)])
def test_two_reductions_are_one(sides):
    high, middle, low = sides
    twice = sinc_operator(middle, low) @ sinc_operator(high, middle)
    assert_close(twice, sinc_operator(high, low), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("high", "low"), [(4, 0), (4, 5)])
def test_an_operator_never_enlarges(high, low):
    with pytest.raises(ParameterRejected, match=f"n_low: got {low}; allowed: 1 to n_high = 4"):
        sinc_operator(high, low)


def test_mixed_precision_does_not_touch_the_operators():
    x, operator = draw(1, 3, 32, 32), image_operator(32, 8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = resample(x, operator)
    assert_close(inside, resample(x, operator), rtol=0, atol=0)


def test_one_scale_is_left_as_it_is():
    pyramid, x = Pyramid((16,)), draw(2, 3, 16, 16)
    for (same,) in (pyramid.images(x), pyramid.noise([x])):
        assert_close(same, x, rtol=0, atol=0)


def test_images_are_reduced_without_clipping():
    x = torch.where(draw(1, 1, 32, 32) > 0, 1.0, -1.0)
    x[..., :16] = 1.0  # an edge, next to which the ideal filter rings
    low, high = Pyramid((8, 32)).images(x)
    assert low.max() > 1.01
    assert_close(high, x, rtol=0, atol=0)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_noise_is_standard_normal_at_every_scale_and_as_correlated_as_told(shared):
    sides, count = (4, 8, 16), 4000
    draws = [draw(count, 1, side, side, seed=side) for side in sides]
    low, middle, high = Pyramid(sides, shared=shared).noise(draws)
    for noise in (low, middle, high):
        values = noise.numel()
        assert abs(noise.mean()) < 4.5 / math.sqrt(values)  # standard errors
        assert abs(noise.var() - 1) < 4.5 * math.sqrt(2 / values)
    for noise in (low, middle):
        reduced = resample(high, sinc_operator(16, noise.shape[-1]))
        correlation = (noise * reduced).mean()
        bound = 4.5 * math.sqrt((1 + shared**2) / noise.numel())
        assert abs(correlation - shared) < max(bound, 1e-6)
    between = (low * resample(middle, sinc_operator(8, 4))).mean()  # by way of the highest
    assert abs(between - shared**2) < 4.5 * math.sqrt(2 / low.numel())


@pytest.mark.parametrize(("high", "low"), [(16, 4), (15, 6), (9, 8)])
def test_reduced_noise_is_white(high, low):
    """Of 20000 draws an entry of the covariance is off by 4.5 standard errors almost never."""
    count = 20_000
    low_noise = resample(draw(count, high, high, seed=2), sinc_operator(high, low)).flatten(1)
    covariance = low_noise.mT @ low_noise / count
    assert_close(covariance, torch.eye(low**2), rtol=0, atol=4.5 * math.sqrt(2 / count))
    assert low_noise.mean(0).abs().max() < 4.5 / math.sqrt(count)


TIMES = torch.linspace(0, 1, 41)


def noised(pyramid, x, draws, schedules, t):
    def at(values):
        return values[:, None, None, None]

    return [
        at(schedule.alpha(t)) * image + at(schedule.sigma(t)) * noise
        for schedule, image, noise in zip(
            schedules, pyramid.images(x), pyramid.noise(draws), strict=True
        )
    ]


def gap(sides, shifts, *, shared=1.0):
    """Largest |z_low - (alpha_low / alpha_high) A z_high| over lower scales, at each of TIMES."""
    schedules = [CosineSchedule(shift) for shift in shifts]
    x = draw(len(TIMES), 3, sides[-1], sides[-1], seed=3).clamp(-1, 1)
    draws = [draw(len(TIMES), 3, side, side, seed=side) for side in sides]
    *lower, high = noised(Pyramid(sides, shared=shared), x, draws, schedules, TIMES)
    found = []
    for z, side, schedule in zip(lower, sides, schedules, strict=False):
        scale = (schedule.alpha(TIMES) / schedules[-1].alpha(TIMES))[:, None, None, None]
        reduced = scale * resample(high, image_operator(sides[-1], side))
        found.append((z - reduced).abs().amax((1, 2, 3)))
    return torch.stack(found).amax(0)


def canonical(sides):
    return [2 * math.log(64 / side) for side in sides]


@pytest.mark.parametrize("sides", [(8, 16, 32), (8, 32), (16, 48), (5, 15)])
def test_a_lower_noisy_image_is_the_reduced_higher_one_at_all_times(sides):
    """In float32, from values up to 5, sums of S products each way round by some 1e-6."""
    assert gap(sides, canonical(sides)).max() < 1e-5


@given(delay=st.floats(0.02, 4), sign=st.sampled_from([-1, 1]))
def test_any_delay_breaks_that(delay, sign):
    low, high = canonical((4, 8))
    assert gap((4, 8), [low + sign * delay, high])[20] > 1e-3


def test_noise_of_its_own_breaks_that_too():
    assert gap((8, 16), canonical((8, 16)), shared=0.99)[20] > 1e-2


def test_reductions_of_one_image_agree():
    pyramid = Pyramid((8, 16, 32))
    images = pyramid.images(draw(2, 3, 32, 32))
    assert_close(pyramid.disagreement(images), torch.zeros(2, 2), rtol=0, atol=1e-5)
    assert_close(pyramid.disagreement(images[:2]), torch.zeros(2, 1), rtol=0, atol=1e-5)


def test_the_gap_is_relative_to_the_lower_prediction():
    pyramid = Pyramid((8, 16))
    low, high = pyramid.images(draw(2, 3, 16, 16))
    scales = torch.tensor([2.0, 4.0])[:, None, None, None]
    found = pyramid.disagreement((scales * low, high))
    assert_close(found, torch.tensor([[0.5], [0.75]]))


def test_one_prediction_has_nothing_to_agree_with():
    assert Pyramid((8, 16)).disagreement([draw(3, 3, 8, 8)]).shape == (3, 0)
