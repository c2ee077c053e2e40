"""Blocks in a row or in a U, which can be recomputed in the backward pass instead of kept."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def _kept(block: nn.Module, x: Tensor, *condition: Tensor) -> Tensor:
    out: Tensor = block(x, *condition)
    return out


def _recomputed(block: nn.Module, x: Tensor, *condition: Tensor) -> Tensor:
    # Where a block drops features at random, the same ones are dropped again.
    out: Tensor = checkpoint(block, x, *condition, use_reentrant=False)
    return out


class Blocks(nn.ModuleList):
    """The blocks of a network, or of one of its branches, in order.

    What the backward pass needs of them is kept; after `recompute` only their inputs are.
    Parameter names are those of a ModuleList either way.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__(blocks)
        self._call: Callable[..., Tensor] = _kept

    def run(self, index: int, x: Tensor, *condition: Tensor) -> Tensor:
        """Apply one block."""
        return self._call(self[index], x, *condition)

    def recompute(self) -> None:
        """From now on, compute each block again in the backward pass: same gradients."""
        self._call = _recomputed


def blocks_in(network: nn.Module) -> list[Blocks]:
    """All the rows of blocks of a network, in order."""
    return [module for module in network.modules() if isinstance(module, Blocks)]


class UShape(nn.Module):
    """An odd number of blocks with long skips from the first half to the second (U-ViT).

    Each long skip also takes in `side` more tensors: the cascade's, in one ablation of DiMR.
    """

    def __init__(self, blocks: Sequence[nn.Module], dim: int, *, side: int = 0) -> None:
        super().__init__()
        self.blocks = Blocks(blocks)
        self.skips = nn.ModuleList(
            nn.Linear((2 + side) * dim, dim) for _ in range(len(blocks) // 2)
        )

    def forward(self, x: Tensor, condition: Tensor, side: Sequence[Tensor] = ()) -> list[Tensor]:
        """Run all blocks on x (B, ..., D), with side tensors like it, and what the blocks read.

        Returns:
            x and every block's output in order.
        """
        half = len(self.skips)
        features = [x]
        for index in range(half + 1):
            features.append(self.blocks.run(index, features[-1], condition))
        for index, skip in enumerate(self.skips):
            joined = torch.cat((features[-1], features[half - index], *side), dim=-1)
            features.append(self.blocks.run(half + 1 + index, skip(joined), condition))
        return features
