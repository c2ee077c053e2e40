"""A trained network seen from a solver: whatever it was trained to predict, noise comes out."""

from torch import Tensor, nn

from model.diffusion.build import build_schedule
from model.diffusion.prediction import noise_from_velocity
from model.specs.process import Prediction, ProcessSpec


class NoisePredictor(nn.Module):
    """Wraps a denoiser and the process it was trained in.

    Predicting the velocity inside and noise outside is what makes small models trainable: at high
    noise an error of the network is not divided by alpha (arXiv:2202.00512, appendix D).
    """

    def __init__(self, network: nn.Module, process: ProcessSpec) -> None:
        super().__init__()
        self.network = network
        self._prediction = process.prediction
        self._schedule = build_schedule(process.schedule)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Noise in x (B, C, H, W) at times t (B,) under classes y (B,), at full resolution."""
        raw: Tensor = self.network(x, t, y)[-1]
        match self._prediction:
            case Prediction.NOISE:
                return raw
            case Prediction.VELOCITY:
                alpha, sigma = self._schedule.alpha(t), self._schedule.sigma(t)
                return noise_from_velocity(x, raw, alpha=alpha, sigma=sigma)
