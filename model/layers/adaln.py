"""AdaLN-Zero (DiT, arXiv:2212.09748, section 3.2): a condition shifts, scales and gates blocks."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Modulation(NamedTuple):
    """What a condition does to one residual branch; each (B, D)."""

    shift: Tensor  # of the branch's normalised input
    scale: Tensor  # of the branch's normalised input, less one
    gate: Tensor  # of its output


def over_cells(value: Tensor, x: Tensor) -> Tensor:
    """Shape (B, D) values so that they broadcast over all inner axes of x (B, ..., D)."""
    return value.view(value.shape[0], *(1,) * (x.ndim - 2), value.shape[1])


class AdaLNZero(nn.Module):
    """One linear layer from a condition to the modulations of a block's two residual branches.

    It starts at zero, so a block starts as the identity. The condition may be wider than the
    block: the block reads its leading `dim` channels, so that branches of different widths share
    one time embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.linear = nn.Linear(dim, 6 * dim)
        self.reset()

    def reset(self) -> None:
        """Back to the identity."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Modulation, Modulation]:
        """Map (B, >= dim) to the modulations of the first and of the second branch."""
        parts = self.linear(F.silu(condition[:, : self.dim])).chunk(6, dim=-1)
        return Modulation(*parts[:3]), Modulation(*parts[3:])


class ModulatedNorm(nn.Module):
    """A LayerNorm, then the condition's scale and shift."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor, modulation: Modulation) -> Tensor:
        """Normalise x (B, ..., D) in float32; dtype and shape of x are kept."""
        unit = self.norm(x.float())
        scale = over_cells(1 + modulation.scale.float(), x)
        shift = over_cells(modulation.shift.float(), x)
        return torch.addcmul(shift, unit, scale).to(x.dtype)


def gated(x: Tensor, change: Tensor, modulation: Modulation) -> Tensor:
    """Add the gated output of a residual branch to x (B, ..., D)."""
    return x + over_cells(modulation.gate, x) * change
