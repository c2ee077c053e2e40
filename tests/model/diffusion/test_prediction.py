import pytest
import torch
from torch.testing import assert_close

from model.diffusion.prediction import data_from_noise, noise_from_velocity
from model.diffusion.schedule import CosineSchedule


@pytest.fixture
def diffused():
    """Data, noise, their mixture at a time of each sample's own, and alpha and sigma there."""
    generator = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64, generator=generator)
    t = torch.tensor([0.01, 0.3, 0.7, 0.99], dtype=torch.float64)
    alpha, sigma = CosineSchedule().alpha(t), CosineSchedule().sigma(t)
    x = torch.einsum("b,bchw->bchw", alpha, data) + torch.einsum("b,bchw->bchw", sigma, noise)
    return data, noise, x, alpha, sigma


def test_the_true_noise_predicts_the_data(diffused):
    data, noise, x, alpha, sigma = diffused
    assert_close(data_from_noise(x, noise, alpha, sigma), data)


def test_the_velocity_of_the_definition_gives_the_noise(diffused):
    data, noise, x, alpha, sigma = diffused
    velocity = torch.einsum("b,bchw->bchw", alpha, noise)
    velocity -= torch.einsum("b,bchw->bchw", sigma, data)
    assert_close(noise_from_velocity(x, velocity, alpha, sigma), noise)


@pytest.mark.parametrize("convert", [data_from_noise, noise_from_velocity])
def test_float64_scales_do_not_lift_a_float32_batch(diffused, convert):
    _, noise, x, alpha, sigma = diffused
    x, noise = x.float(), noise.float()
    rounded = convert(x, noise, alpha.float(), sigma.float())
    assert_close(convert(x, noise, alpha, sigma), rounded, rtol=0, atol=0)
