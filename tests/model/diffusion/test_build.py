"""Specs of a process, built."""

import math

import pytest
import torch
from torch.testing import assert_close

from model.diffusion.build import build_pyramid, build_schedules
from model.diffusion.schedule import DiscreteSchedule
from model.specs.process import (
    CosineScheduleSpec,
    DiscreteScheduleSpec,
    Prediction,
    ProcessSpec,
    ScalesSpec,
)

SIDES = (32, 64, 128)


def process(schedule=None, scales=None):
    return ProcessSpec(
        schedule=schedule or CosineScheduleSpec(),
        scales=scales,
        prediction=Prediction.VELOCITY,
        t_min=0.01,
        t_max=0.99,
    )


def log_snrs(spec, t):
    return [2 * schedule.half_log_snr(t) for schedule in build_schedules(spec, SIDES)]


def test_scales_are_shifted_by_their_side_and_their_delay():
    delays = (0.0, 0.5, -1.0)
    spec = process(CosineScheduleSpec(shift=0.3), ScalesSpec(delays=delays, shared=0.0))
    middle = [log_snr.item() for log_snr in log_snrs(spec, 0.5)]
    assert middle == pytest.approx(
        [0.3 + 2 * math.log(2), 0.3 + 0.5, 0.3 - 2 * math.log(2) - 1.0], abs=1e-9
    )


def test_one_clamp_serves_all_scales():
    """Their log-SNRs differ by constants at every time, the ends included."""
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    first, *others = log_snrs(process(scales=ScalesSpec()), t)
    for log_snr, side in zip(others, SIDES[1:], strict=True):
        constant = torch.full_like(t, 2 * math.log(32 / side))
        assert_close(log_snr - first, constant, rtol=0, atol=1e-9)


def test_a_process_without_scales_has_one_schedule_whatever_its_side():
    (schedule,) = build_schedules(process(CosineScheduleSpec(shift=0.3)), (32,))
    assert 2 * schedule.half_log_snr(0.5).item() == pytest.approx(0.3, abs=1e-9)
    (schedule,) = build_schedules(process(DiscreteScheduleSpec()), (32,))
    assert isinstance(schedule, DiscreteSchedule)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_the_pyramid_shares_as_much_noise_as_the_spec_says(shared):
    pyramid = build_pyramid(process(scales=ScalesSpec(shared=shared)), (2, 4))
    silent, one = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 4, 4)
    low, high = pyramid.noise((silent, one))
    assert_close(low, torch.full_like(low, 2 * shared))
    assert_close(high, one)
    low, _ = pyramid.noise((torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 4, 4)))
    assert_close(low, torch.full_like(low, math.sqrt(1 - shared**2)))


def test_the_pyramid_of_one_tensor_leaves_it_alone():
    x = torch.randn(1, 3, 8, 8)
    assert build_pyramid(process(), (8,)).images(x) == (x,)
