"""Noise schedules: how much signal and noise x_t = alpha(t) x_0 + sigma(t) eps holds at time t.

Variance preserving, alpha^2 + sigma^2 = 1, so one number fixes both: the half log-SNR
lam = ln(alpha / sigma), the time in which DPM-Solver (Lu et al. 2022, arXiv:2206.00927) is
written. It falls strictly as t grows from data (t near 0) to noise (t = 1).

Arithmetic is float64 whatever comes in. A floating-point tensor or array comes back in its own
dtype, anything else as float64. No function branches on a value; a time outside the schedule's
domain gives whatever its formula gives, so whoever takes times from a user checks them first.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from model.diffusion.errors import ParameterRejected

TensorLike = Tensor | ArrayLike


class Schedule(Protocol):
    """A variance-preserving schedule; every method keeps the shape of its argument."""

    @property
    def t_start(self) -> float:
        """Time at which sampling starts unless told otherwise."""

    @property
    def t_end(self) -> float:
        """Time at which sampling ends unless told otherwise, below `t_start`."""

    def alpha(self, t: TensorLike) -> Tensor:
        """Signal scale at diffusion time t."""

    def sigma(self, t: TensorLike) -> Tensor:
        """Noise scale at diffusion time t."""

    def half_log_snr(self, t: TensorLike) -> Tensor:
        """ln(alpha / sigma) at diffusion time t, strictly decreasing in t."""

    def inverse_half_log_snr(self, lam: TensorLike) -> Tensor:
        """The diffusion time whose half log-SNR is `lam`."""


@dataclass(frozen=True, slots=True, eq=False)
class DiscreteSchedule:
    """A chain of N noising steps made continuous, as in DPM-Solver's discrete schedule.

    ln alpha at t_k = k / N is half the sum of ln(1 - beta_i) over i <= k; it is linear in between,
    and the first and last piece extend beyond the ends. ln alpha reaches 0, where no noise is
    left and the half log-SNR ends, slightly above t = 0.

    Attributes:
        betas: (N,) float64 variances of the chain, N >= 2, each in (0, 1).
    """

    betas: Tensor
    _t: Tensor = field(init=False, repr=False)
    _log_alpha: Tensor = field(init=False, repr=False)
    _copies: dict[torch.device, tuple[Tensor, Tensor]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        betas = torch.as_tensor(self.betas).to(torch.float64, copy=True)
        if betas.ndim != 1 or len(betas) < 2:
            raise ParameterRejected(
                tuple(betas.shape), name="betas", allowed="1-D with two or more entries"
            )
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise ParameterRejected(betas, name="betas", allowed="strictly between 0 and 1")
        count = len(betas)
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "_t", torch.arange(1, count + 1, dtype=torch.float64) / count)
        object.__setattr__(self, "_log_alpha", torch.log1p(-betas).cumsum(0) / 2)
        object.__setattr__(self, "_copies", {})

    @classmethod
    def stable_diffusion(cls) -> Self:
        """1000 betas, linear in their square root from 0.00085 to 0.012: Stable Diffusion, DiMR."""
        return cls(torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square())

    @property
    def t_start(self) -> float:
        """The last step of the chain."""
        return 1.0

    @property
    def t_end(self) -> float:
        """The first step of the chain, the least noise it was trained on."""
        return 1 / len(self.betas)

    def alpha(self, t: TensorLike) -> Tensor:
        """Signal scale at diffusion time t."""
        t, dtype = _float64(t)
        return self._log_alpha_at(t).exp().to(dtype)

    def sigma(self, t: TensorLike) -> Tensor:
        """Noise scale at diffusion time t; NaN below the time where no noise is left."""
        t, dtype = _float64(t)
        return (-torch.expm1(2 * self._log_alpha_at(t))).sqrt().to(dtype)

    def half_log_snr(self, t: TensorLike) -> Tensor:
        """ln(alpha / sigma) at diffusion time t; NaN below the time where no noise is left."""
        t, dtype = _float64(t)
        log_alpha = self._log_alpha_at(t)
        return (log_alpha - (-torch.expm1(2 * log_alpha)).log() / 2).to(dtype)

    def inverse_half_log_snr(self, lam: TensorLike) -> Tensor:
        """The diffusion time whose half log-SNR is `lam`."""
        lam, dtype = _float64(lam)
        minus_log_alpha = -F.logsigmoid(2 * lam) / 2
        knots, log_alpha = self._on(lam.device)
        return _interpolate(minus_log_alpha, -log_alpha, knots).to(dtype)

    def _log_alpha_at(self, t: Tensor) -> Tensor:
        return _interpolate(t, *self._on(t.device))

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Times and ln alpha of the chain on a device, copied once: a copy waits for the device."""
        if device not in self._copies:
            with torch.inference_mode(mode=False):  # whoever is first, all may use them
                self._copies[device] = self._t.to(device), self._log_alpha.to(device)
        return self._copies[device]


@dataclass(frozen=True, slots=True)
class CosineSchedule:
    """The shifted cosine schedule of simple diffusion (Hoogeboom et al. 2023, arXiv:2301.11093).

    ln SNR(t) = -2 ln tan(a + t (b - a)) + shift with a = atan(e^-7.5), b = atan(e^7.5): the cosine
    schedule squeezed into [-15, 15] on 0 <= t <= 1, then shifted.

    Attributes:
        shift: shift of the log-SNR (not of its half): 2 ln(64 / d) gives side d the schedule that
            suits side 64, so -1.386 for 128.
    """

    shift: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.shift):
            raise ParameterRejected(self.shift, name="shift", allowed="finite")

    @property
    def t_start(self) -> float:
        """0.99: without shift alpha is 0.016 here, so that an image starts as noise alone.

        Later times add almost nothing to the path, and a data prediction made from a noise
        prediction divides by alpha, which falls to 0.0006 at t = 1.
        """
        return 0.99

    @property
    def t_end(self) -> float:
        """0.01: without shift sigma is 0.016 here, two of the 255 levels of an 8-bit channel.

        A negative shift leaves more noise (0.13 at -4.16): end such a path with the data
        prediction or at an earlier time.
        """
        return 0.01

    def alpha(self, t: TensorLike) -> Tensor:
        """Signal scale at diffusion time t in [0, 1]."""
        t, dtype = _float64(t)
        return (F.logsigmoid(2 * self._half_log_snr(t)) / 2).exp().to(dtype)

    def sigma(self, t: TensorLike) -> Tensor:
        """Noise scale at diffusion time t in [0, 1]."""
        t, dtype = _float64(t)
        return (F.logsigmoid(-2 * self._half_log_snr(t)) / 2).exp().to(dtype)

    def half_log_snr(self, t: TensorLike) -> Tensor:
        """ln(alpha / sigma) at diffusion time t in [0, 1]; in [-7.5, 7.5] + shift / 2."""
        t, dtype = _float64(t)
        return self._half_log_snr(t).to(dtype)

    def inverse_half_log_snr(self, lam: TensorLike) -> Tensor:
        """The diffusion time whose half log-SNR is `lam`."""
        lam, dtype = _float64(lam)
        angle = torch.atan(torch.exp(self.shift / 2 - lam))
        return ((angle - _ANGLE_AT_0) / (_ANGLE_AT_1 - _ANGLE_AT_0)).to(dtype)

    def _half_log_snr(self, t: Tensor) -> Tensor:
        angle = _ANGLE_AT_0 + t * (_ANGLE_AT_1 - _ANGLE_AT_0)
        return self.shift / 2 - torch.tan(angle).log()


_ANGLE_AT_0 = math.atan(math.exp(-7.5))
_ANGLE_AT_1 = math.atan(math.exp(7.5))


def _float64(values: TensorLike) -> tuple[Tensor, torch.dtype]:
    """`values` as a float64 tensor, and the dtype in which results are handed back."""
    match values:
        case Tensor():
            tensor = values
        case np.ndarray() | np.generic():
            tensor = torch.tensor(np.array(values, order="C"))  # strides may be negative
        case _:
            tensor = torch.tensor(values, dtype=torch.float64)
    dtype = tensor.dtype if tensor.is_floating_point() else torch.float64
    return tensor.to(torch.float64), dtype


def _interpolate(x: Tensor, knots: Tensor, heights: Tensor) -> Tensor:
    """The piecewise linear function through (knots, heights), its end pieces extended.

    Args:
        x: any shape, float64.
        knots: (N,) float64 on the same device, strictly increasing, N >= 2.
        heights: (N,) float64 there too.
    """
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    slope = (heights[right] - heights[left]) / (knots[right] - knots[left])
    return heights[left] + slope * (x - knots[left])
