"""Diffusion times and cell positions as vectors."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.rows import RowLinear

SLOWEST = 10_000.0  # the longest period, in radians


def sinusoids(position: Tensor, dim: int) -> Tensor:
    """Cosines, then sines of a position at geometric frequencies 1 .. 1 / 10000 (DDPM).

    Args:
        position: (N,) any real numbers.
        dim: width of the result; an odd one ends in a zero.

    Returns:
        (N, dim) float32.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=position.device)
    angle = position.float()[:, None] * torch.exp(-math.log(SLOWEST) * steps / half)
    return F.pad(torch.cat((angle.cos(), angle.sin()), dim=-1), (0, dim % 2))


def time_sinusoids(t: Tensor, dim: int) -> Tensor:
    """Embed diffusion time t (B,) in (0, 1] as (B, dim), counted in the usual thousandths."""
    return sinusoids(1000 * t.float(), dim)


class TimeCode(nn.Module):
    """What every time-dependent norm reads."""

    def forward(self, t: Tensor) -> Tensor:
        """Map diffusion time (B,) in (0, 1] to tau (B,) in (-1, 1].

        The DiMR authors feed 8 t - 4 and divide it by 4; it grows with the noise.
        """
        return 2 * t.float() - 1


class TimeEmbedding(nn.Module):
    """Sinusoids of diffusion time through an MLP, as AdaLN-Zero reads it (arXiv:2212.09748)."""

    def __init__(self, frequencies: int, dim: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.inner = RowLinear(frequencies, dim)
        self.out = RowLinear(dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        """Embed t (B,) in (0, 1] as (B, dim)."""
        hidden = F.silu(self.inner(time_sinusoids(t, self.frequencies)))
        out: Tensor = self.out(hidden)
        return out


def grid_sinusoids(grid: int, dim: int) -> Tensor:
    """Fixed positions of the cells of a square grid, row by row: (grid^2, dim) float32 (MAE, DiT).

    Half of the channels tell the column, half the row, each as sines, then cosines; `dim` is a
    multiple of four.
    """
    quarter = dim // 4
    frequency = SLOWEST ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * frequency
    axis = torch.cat((angle.sin(), angle.cos()), dim=-1)
    column, row = axis.repeat(grid, 1), axis.repeat_interleave(grid, 0)
    return torch.cat((column, row), dim=-1).float()
