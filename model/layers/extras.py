"""How vectors about the whole image (class, time) join the cells of its grid.

To a Transformer they are tokens before the cells, in a ConvNeXt stage they are added to every
cell. Both run a trunk on cells (B, H, W, D) and give back features (B, H, W, D).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from model.layers.trunk import UShape

Tensors = Sequence[Tensor]


def run_over_tokens(
    trunk: UShape, cells: Tensor, extras: Tensors, condition: Tensor, side: Tensors
) -> list[Tensor]:
    """Run a trunk over tokens: extras (B, D) first, then cells row by row; they leave at the end.

    Side tensors have no extras of their own; zeros stand there.
    """
    count, grid = len(extras), cells.shape[1:3]
    tokens = torch.cat((*(extra[:, None] for extra in extras), cells.flatten(1, 2)), dim=1)
    beside = [F.pad(s.flatten(1, 2), (0, 0, count, 0)) for s in side]
    return [f[:, count:].unflatten(1, grid) for f in trunk(tokens, condition, beside)]


def run_over_grid(
    trunk: UShape, cells: Tensor, extras: Tensors, condition: Tensor, side: Tensors
) -> list[Tensor]:
    """Run a trunk over the grid itself, every cell with the extras (B, D) added to it."""
    for extra in extras:
        cells = cells + extra[:, None, None]
    features: list[Tensor] = trunk(cells, condition, side)
    return features
