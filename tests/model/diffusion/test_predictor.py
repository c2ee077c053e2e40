"""Networks of any kind as predictors of noise."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from model.diffusion.build import build_schedules
from model.diffusion.predictor import NoisePredictor
from model.specs.process import CosineScheduleSpec, Prediction, ProcessSpec, ScalesSpec

SIDES = (4, 8)


class Halves(nn.Module):
    """Predicts half of each state that it is given, plus the sum of its condition."""

    def forward(self, z, t, *condition):
        return [x / 2 + sum(map(torch.sum, condition)) for x in z]


class Branches(nn.Module):
    """A single-scale network with a branch of its own for training."""

    def forward(self, x, t, y):
        return [x[..., ::2, ::2], x / 2]


def process(prediction, scales=None):
    return ProcessSpec(
        schedule=CosineScheduleSpec(shift=0.4),
        scales=scales,
        prediction=prediction,
        t_min=0.01,
        t_max=0.99,
    )


def states():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 2, side, side, generator=generator) for side in SIDES]


T = torch.tensor([0.1, 0.5, 0.9])


@pytest.mark.parametrize("count", [1, 2])
def test_noise_of_each_scale_that_is_given_comes_out_as_it_is(count):
    predictor = NoisePredictor(Halves(), process(Prediction.NOISE, ScalesSpec()), SIDES)
    xs = states()[:count]
    found = predictor(xs, T)
    assert len(found) == count
    for noise, x in zip(found, xs, strict=True):
        assert_close(noise, x / 2, rtol=0, atol=0)


@pytest.mark.parametrize("count", [1, 2])
def test_a_velocity_is_read_with_the_schedule_of_its_own_scale(count):
    spec = process(Prediction.VELOCITY, ScalesSpec())
    xs = states()[:count]
    found = NoisePredictor(Halves(), spec, SIDES)(xs, T)
    assert len(found) == count
    for noise, x, schedule in zip(found, xs, build_schedules(spec, SIDES), strict=False):
        alpha, sigma = (v[:, None, None, None] for v in (schedule.alpha(T), schedule.sigma(T)))
        assert_close(noise, sigma * x + alpha * x / 2)


def test_a_network_of_one_scale_answers_with_its_highest_branch():
    predictor = NoisePredictor(Branches(), process(Prediction.NOISE), (8,))
    x = states()[1]
    (noise,) = predictor((x,), T, torch.zeros(3))
    assert_close(noise, x / 2, rtol=0, atol=0)


def test_the_whole_condition_reaches_the_network():
    predictor = NoisePredictor(Halves(), process(Prediction.NOISE, ScalesSpec()), SIDES)
    xs = states()
    found = predictor(xs, T, torch.tensor([1.0]), torch.tensor([2.0]))
    for noise, x in zip(found, xs, strict=True):
        assert_close(noise, x / 2 + 3)
