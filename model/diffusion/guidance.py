"""Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598) as a function of time.

A noise prediction is moved from the unconditional one, u, through the conditional one, c, to
u + g(t) (c - u): g = 1 is no guidance. The DiMR authors write c + w (c - u), which is g = 1 + w;
their w = 0.4 is `ConstantGuidance(1.4)`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.diffusion.broadcast import per_sample
from model.diffusion.errors import ParameterRejected


class Guidance(Protocol):
    """How strongly each moment of a sampling path is guided."""

    @property
    def scale(self) -> float:
        """The value of g at full strength."""

    def __call__(self, t: Tensor) -> Tensor:
        """Evaluate g at diffusion times t in [0, 1]; float64, same shape."""


@dataclass(frozen=True, slots=True)
class ConstantGuidance:
    """g(t) = scale. Attributes: scale: finite, at least 0; 1 is no guidance."""

    scale: float

    def __post_init__(self) -> None:
        _check_scale(self.scale)

    def __call__(self, t: Tensor) -> Tensor:
        """Return `scale` for every time, float64."""
        return torch.full_like(t, self.scale, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class PowerCosineGuidance:
    """g(t) = 1 + (scale - 1) (1 - cos(pi (1 - t)^power)) / 2: 1 at noise, `scale` at data.

    The second form in the DiMR authors' code.

    Attributes:
        scale: finite, at least 0; 1 is no guidance.
        power: finite, above 0; the larger, the later guidance sets in.
    """

    scale: float
    power: float

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        if not (math.isfinite(self.power) and self.power > 0):
            raise ParameterRejected(self.power, name="power", allowed="finite and above 0")

    def __call__(self, t: Tensor) -> Tensor:
        """Evaluate g at diffusion times t in [0, 1], float64."""
        phase = torch.pi * (1 - t.to(torch.float64)) ** self.power
        return 1 + (self.scale - 1) * (1 - torch.cos(phase)) / 2


def snapped(values: Tensor, *, scale: float, threshold: float) -> Tensor:
    """Guidance made exactly 1 where it is weaker than a fraction of its full strength.

    Exactly 1 needs no unconditional prediction. The strength of g is |g - 1|.

    Args:
        values: guidance, any shape.
        scale: guidance at full strength.
        threshold: fraction of |scale - 1| in [0, 1); 0 leaves every value as it is.

    Returns:
        Shape and dtype of `values`.
    """
    if not 0 <= threshold < 1:
        raise ParameterRejected(threshold, name="snap", allowed="at least 0 and below 1")
    weak = (values - 1).abs() < threshold * abs(scale - 1)
    return torch.where(weak, 1.0, values)


def guided(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Combine predictions to u + g (c - u), written c + (g - 1) (c - u).

    So a sample with g exactly 1 gets exactly its conditional prediction, bit for bit what it gets
    where the unconditional one is not computed.

    Args:
        conditional: (B, ...) prediction c.
        unconditional: (B, ...) prediction u, finite.
        scale: (B,) guidance g, rounded to the dtype of the predictions.

    Returns:
        (B, ...) in the dtype of the predictions.
    """
    weight = per_sample(scale, conditional) - 1
    return conditional + weight * (conditional - unconditional)


def _check_scale(scale: float) -> None:
    if not (math.isfinite(scale) and scale >= 0):
        raise ParameterRejected(scale, name="scale", allowed="finite and at least 0")
