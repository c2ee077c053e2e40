"""Gaussian data, whose noise prediction and probability flow are known in closed form; bundles."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from model.bundle import Bundle, read_manifest, write_bundle
from model.denoisers.layered import LayeredUNet
from model.diffusion.broadcast import per_sample


@dataclass(frozen=True)
class Gaussian:
    """Data distributed as N(mu, sd^2), each element by itself."""

    mu: Tensor
    sd: Tensor

    def noise_predictor(self, schedule):
        """The ideal denoiser, eps = sigma (x - alpha mu) / (alpha^2 sd^2 + sigma^2)."""

        def predict(x, t):
            alpha, sigma = (per_sample(v, x) for v in (schedule.alpha(t), schedule.sigma(t)))
            return sigma * (x - alpha * self.mu) / (alpha**2 * self.sd**2 + sigma**2)

        return predict

    def flow(self, schedule, x, t_start, t_end):
        """Where the probability flow takes x: its distance from the mean in deviations stays."""
        (mean, spread), (mean_end, spread_end) = (
            self._moments(schedule, t) for t in (t_start, t_end)
        )
        return mean_end + spread_end * (x - mean) / spread

    def _moments(self, schedule, t):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return alpha * self.mu, (alpha**2 * self.sd**2 + sigma**2).sqrt()


@pytest.fixture
def gaussian():
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(1, 3, 4, 4, generator=generator, dtype=torch.float64)
    sd = 0.2 + torch.rand(1, 3, 4, 4, generator=generator, dtype=torch.float64)
    return Gaussian(mu, sd)


@pytest.fixture
def noise():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 4, 4, generator=generator, dtype=torch.float64)


@pytest.fixture
def layered_network(layered_recipe):
    """Three scales, 8, 16 and 32, on which prompts have an effect."""
    network = LayeredUNet(layered_recipe.network)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.02, 0.3, generator=generator)
    return network.eval().requires_grad_(requires_grad=False)


@pytest.fixture
def layered_folder(layered_recipe, layered_network, prompts, tmp_path):
    folder = tmp_path / "layered"
    return write_bundle(folder, layered_recipe, layered_network, (), steps=6, prompts=prompts)


@pytest.fixture
def layered_bundle(layered_folder, layered_network, prompts):
    """What is loaded from the folder, with the text encoder that is open already."""
    return Bundle(read_manifest(layered_folder), (), layered_network, prompts=prompts)
