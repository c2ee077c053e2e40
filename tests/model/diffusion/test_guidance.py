import math

import pytest
import torch
from torch.testing import assert_close

from model.diffusion.errors import ParameterRejected
from model.diffusion.guidance import (
    ConstantGuidance,
    PowerCosineGuidance,
    guided,
    snapped,
)


def test_constant_guidance_is_the_same_at_every_time_in_float64():
    t = torch.linspace(0, 1, 5)
    assert_close(ConstantGuidance(1.4)(t), torch.full((5,), 1.4, dtype=torch.float64))


@pytest.mark.parametrize(("scale", "power"), [(3.0, 1.0), (8.5, 4.0), (1.0, 2.0)])
def test_power_cosine_guidance_is_the_authors_formula(scale, power):
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    expected = [
        1 + (scale - 1) * (1 - math.cos(math.pi * (1 - s) ** power)) / 2 for s in t.tolist()
    ]
    guidance = PowerCosineGuidance(scale, power)
    assert_close(guidance(t), torch.tensor(expected, dtype=torch.float64))


def test_power_cosine_guidance_rises_from_exactly_1_at_noise_to_its_scale_at_data():
    values = PowerCosineGuidance(4.0, 2.0)(torch.linspace(1, 0, 50))
    assert values.dtype == torch.float64
    assert values[0] == 1
    assert values[-1] == 4
    assert (values.diff() > 0).all()


def test_snapping_touches_only_guidance_weaker_than_the_threshold():
    values = torch.tensor([1.0, 1.01, 1.0199, 1.0201, 1.5, 3.0], dtype=torch.float64)
    expected = torch.tensor([1.0, 1.0, 1.0, 1.0201, 1.5, 3.0], dtype=torch.float64)
    assert_close(snapped(values, scale=3.0, threshold=0.01), expected, rtol=0, atol=0)


def test_snapping_measures_strength_on_both_sides_of_1():
    values = torch.tensor([0.999, 0.5], dtype=torch.float64)
    expected = torch.tensor([1.0, 0.5], dtype=torch.float64)
    assert_close(snapped(values, scale=0.5, threshold=0.01), expected, rtol=0, atol=0)


def test_a_threshold_of_0_leaves_guidance_as_it_is():
    values = torch.tensor([1.0, 1.0 + 1e-12, 2.0], dtype=torch.float64)
    assert_close(snapped(values, scale=2.0, threshold=0.0), values, rtol=0, atol=0)


def test_each_sample_is_guided_by_its_own_scale():
    conditional, unconditional = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    scale = torch.tensor([0.0, 1.4, 7.5], dtype=torch.float64)
    expected = torch.stack(
        [u + s * (c - u) for c, u, s in zip(conditional, unconditional, scale, strict=True)]
    )
    assert_close(guided(conditional, unconditional, scale), expected)


def test_guidance_of_exactly_1_returns_the_conditional_prediction_bit_for_bit():
    conditional, unconditional = torch.randn(2, 3, 1000)
    combined = guided(conditional, unconditional, torch.ones(3, dtype=torch.float64))
    assert_close(combined, conditional, rtol=0, atol=0)


@pytest.mark.parametrize("scale", [-0.1, math.inf, math.nan])
def test_a_scale_that_is_negative_or_not_finite_is_rejected(scale):
    with pytest.raises(ParameterRejected, match="scale: got"):
        ConstantGuidance(scale)
    with pytest.raises(ParameterRejected, match="scale: got"):
        PowerCosineGuidance(scale, 1.0)


@pytest.mark.parametrize("power", [0.0, -1.0, math.inf, math.nan])
def test_a_power_that_is_not_positive_is_rejected(power):
    with pytest.raises(ParameterRejected, match="power: got"):
        PowerCosineGuidance(2.0, power)


@pytest.mark.parametrize("threshold", [-0.01, 1.0, math.nan])
def test_a_threshold_that_is_no_fraction_is_rejected(threshold):
    with pytest.raises(ParameterRejected, match="snap: got"):
        snapped(torch.ones(2), scale=2.0, threshold=threshold)
