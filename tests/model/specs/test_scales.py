"""Which noise and delays of a layered process are refused."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.specs.process import ScalesSpec

SIDES = (32, 64, 128)
delays = st.lists(st.floats(-3, 3), min_size=2, max_size=3)
shares = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0])


def information(covariance):
    """How much looks x + noise at one number x tell of it: 1 / variance of the best estimate."""
    ones = np.ones(len(covariance))
    return ones @ np.linalg.inv(covariance) @ ones


def lead(shifts, low, high, correlation):
    """Information of two scales about a pixel of the lower one, over that of independent looks.

    Seen there, the higher scale's noise is smaller by the ratio of sides.
    """
    spread_low = math.exp(-shifts[low] / 2)
    spread_high = math.exp(-shifts[high] / 2) * SIDES[low] / SIDES[high]
    covariance = np.diag([spread_low**2, spread_high**2])
    independent = information(covariance)
    covariance[0, 1] = covariance[1, 0] = correlation * spread_low * spread_high
    if np.linalg.det(covariance) < 1e-12 * spread_low**2 * spread_high**2:  # one look, or all
        same = math.isclose(spread_low, spread_high)
        return 1 / spread_low**2 / independent if same else math.inf
    return information(covariance) / independent


def accepted(shared, chosen):
    try:
        ScalesSpec(shared=shared, delays=tuple(chosen))
    except ValidationError:
        return False
    return True


@given(shared=shares, chosen=delays)
@example(shared=0.75, chosen=[1.0, -1.0, 0.0])  # lower scales are apart as 0.75 squared allows
def test_noise_is_refused_exactly_where_two_looks_tell_more_than_independent_ones(shared, chosen):
    shifts = [2 * math.log(64 / side) + delay for side, delay in zip(SIDES, chosen, strict=False)]
    top = len(chosen) - 1
    leads = [
        lead(shifts, low, high, shared if high == top else shared**2)
        for high in range(1, len(chosen))
        for low in range(high)
    ]
    assume(all(abs(value - 1) > 1e-6 for value in leads))
    assert accepted(shared, chosen) == (max(leads) < 1)


@given(delay=st.floats(-10, 10), scales=st.integers(1, 5))
def test_shared_noise_allows_equal_delays_alone(delay, scales):
    assert accepted(1.0, [delay] * scales)
    assume(abs(delay) > 1e-6)
    assert not accepted(1.0, [0.0, delay])


@given(chosen=delays)
def test_independent_noise_allows_every_delay(chosen):
    assert accepted(0.0, chosen)


def test_the_refusal_names_the_delays_and_says_what_would_happen():
    with pytest.raises(ValidationError) as caught:
        ScalesSpec(shared=0.9, delays=(0.0, 0.0, 1.5))
    said = str(caught.value)
    assert "shared: got 0.9 with delays 0.0 and 1.5 of scales 0 and 2" in said
    assert "allowed: a correlation of at most 0.7724, or equal delays" in said
    assert "reads the clean image" in said


@pytest.mark.parametrize("shared", [-0.1, 1.1])
def test_a_correlation_lies_between_none_and_one(shared):
    assert not accepted(shared, [0.0, 0.0])
