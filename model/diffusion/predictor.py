"""A trained network seen from a solver: whatever it was trained to predict, noise comes out."""

from collections.abc import Sequence

from torch import Tensor, nn

from model.diffusion.build import build_schedules
from model.diffusion.prediction import noise_from_velocity
from model.specs.process import Prediction, ProcessSpec


class NoisePredictor(nn.Module):
    """Wraps a denoiser and the process it was trained in.

    Predicting the velocity inside and noise outside is what makes small models trainable: at high
    noise an error of the network is not divided by alpha (arXiv:2202.00512, appendix D).
    """

    def __init__(self, network: nn.Module, process: ProcessSpec, sides: Sequence[int]) -> None:
        """Wrap `network`, which denoises tensors of these sides, low to high, together."""
        super().__init__()
        self.network = network
        self._prediction = process.prediction
        self._schedules = build_schedules(process, sides)
        self._layered = process.scales is not None

    def forward(self, xs: Sequence[Tensor], t: Tensor, *condition: Tensor) -> tuple[Tensor, ...]:
        """Noise in each of the states of a sample.

        Args:
            xs: (B, C, d, d) states, low to high; a layered network may be given its lowest ones
                alone and then computes no more than these need.
            t: (B,) diffusion times.
            condition: classes (B,), or token states (B, L, W) and their mask (B, L).

        Returns:
            One tensor like each of `xs`.
        """
        if self._layered:
            raw = self.network(xs, t, *condition)
        else:
            raw = self.network(xs[0], t, *condition)[-1:]  # lower branches serve training alone
        match self._prediction:
            case Prediction.NOISE:
                return tuple(raw)
            case Prediction.VELOCITY:
                return tuple(
                    noise_from_velocity(x, v, alpha=schedule.alpha(t), sigma=schedule.sigma(t))
                    for x, v, schedule in zip(xs, raw, self._schedules, strict=False)
                )
