"""Normalisation whose gain depends on diffusion time: the reference of every fused kernel.

Statistics are taken in float32 over the last axis and stored once in the input's dtype. Time
enters as an argument `tau` (B,); no layer remembers it and none branches on it, so a batch may mix
times freely. Static norms take the argument too and do not look at it, so that all are called
alike. Facts: DiMR (arXiv:2406.09416) section 3.3, and the authors' released layout.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.specs.networks import Norm

RMS_EPS = 1e-8  # added to the root mean square itself
LAYER_NORM_EPS = 1e-5  # added to the variance, inside the root

NormOf = Callable[[int], nn.Module]  # width -> norm(x, tau)


class TimeDependentParameter(nn.Module):
    """A vector that moves between two learned ends as time passes, each channel at its own pace.

    value(tau) = s * first + (1 - s) * second with s = sigmoid(tau * (1 + slope) + offset).
    """

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((dim,), init))
        self.second = nn.Parameter(torch.full((dim,), init))
        self.slope = nn.Parameter(torch.zeros(dim))
        self.offset = nn.Parameter(torch.zeros(dim))

    def forward(self, tau: Tensor) -> Tensor:
        """Evaluate at tau: (B,) -> (B, dim)."""
        gate = torch.sigmoid(torch.addcmul(self.offset, tau[:, None], 1 + self.slope))
        return torch.lerp(self.second, self.first, gate)


def _per_sample(value: Tensor, x: Tensor) -> Tensor:
    """Shape (B, C) values so that they broadcast over all inner axes of x (B, ..., C)."""
    return value.view(value.shape[0], *(1,) * (x.ndim - 2), value.shape[1])


class TDLayerNorm(nn.Module):
    """LayerNorm with time-dependent weight and bias (TD-LN)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = TimeDependentParameter(dim, 1.0)
        self.bias = TimeDependentParameter(dim, 0.0)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Normalise x (B, ..., C) at times tau (B,); dtype and shape of x are kept."""
        unit: Tensor = nn.functional.layer_norm(x.float(), x.shape[-1:], eps=LAYER_NORM_EPS)
        weight = _per_sample(self.weight(tau), x)
        bias = _per_sample(self.bias(tau), x)
        return unit.mul_(weight).add_(bias).to(x.dtype)


def _inverse_rms(x: Tensor) -> Tensor:
    """1 / (rms + eps) over the last axis of x, shape (..., 1)."""
    root = math.sqrt(x.shape[-1])
    inverse: Tensor = root / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + root * RMS_EPS)
    return inverse


class TDRMSNorm(nn.Module):
    """RMS norm with a time-dependent scale: mean kept, no bias, epsilon outside the root."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = TimeDependentParameter(dim, 1.0)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Normalise x (B, ..., C) at times tau (B,); dtype and shape of x are kept."""
        wide = x.float()
        unit = wide * _inverse_rms(wide)
        return unit.mul_(_per_sample(self.scale(tau), x)).to(x.dtype)


class RMSNorm(nn.Module):
    """RMS norm with one static scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor, _tau: object) -> Tensor:
        """Normalise x (B, ..., C); dtype and shape of x are kept."""
        wide = x.float()
        return (wide * _inverse_rms(wide)).mul_(self.scale).to(x.dtype)


class LayerNorm(nn.Module):
    """LayerNorm with static weight and bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, _tau: object) -> Tensor:
        """Normalise x (B, ..., C); dtype and shape of x are kept."""
        unit = nn.functional.layer_norm(
            x.float(), x.shape[-1:], self.weight, self.bias, LAYER_NORM_EPS
        )
        return unit.to(x.dtype)


def block_norm(kind: Norm, dim: int) -> nn.Module:
    """The norm that stands inside attention and MLP."""
    match kind:
        case Norm.TD_RMSNORM:
            return TDRMSNorm(dim)
        case Norm.TD_LAYERNORM:
            return TDLayerNorm(dim)
        case Norm.RMSNORM:
            return RMSNorm(dim)
        case Norm.LAYERNORM:
            return LayerNorm(dim)
