"""A network written so that TensorRT fuses its norms: the same function, all of it over rows.

Its compiler puts a norm in one kernel where the norm stands between matrices of rows, and splits
it, statistics here and their use there, where a grid is transposed around it or a convolution is
added behind it. Nodes of norms see rows anyway (see `export.graph.nodes`); here patches come to be
embedded by a linear layer instead of a convolution with kernel = stride, into which what is added
afterwards is fused, a cascade not to be put side by side with what it joins, and heads to be as
wide as there are kernels for (see `heads`). Measured by the fusion report on tensorrt_rtx 1.7.
"""

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from export.compilers.heads import WideHeads, is_narrow
from export.graph.nodes import shared_copy
from export.graph.parts import Part
from model.layers.blocks import Attention
from model.layers.resample import Concatenation, Patchify


class PatchRows(nn.Module):
    """A `Patchify` that embeds each patch as one row of a linear layer."""

    def __init__(self, patchify: Patchify) -> None:
        super().__init__()
        self.pool = patchify.pool
        self.embed = patchify.embed

    def forward(self, image: Tensor) -> Tensor:
        """Embed (B, C, S, S) as (B, H, W, D) with H = W = S / (pool * patch)."""
        weight, patch = self.embed.weight, self.embed.kernel_size[0]
        pooled = self.pool(image).to(weight.dtype)
        batch, channels, side, _ = pooled.shape
        grid = side // patch
        cells = pooled.view(batch, channels, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        rows = cells.reshape(batch, grid * grid, channels * patch * patch)
        embedded = F.linear(rows, weight.flatten(1), self.embed.bias)
        return embedded.view(batch, grid, grid, -1)


class SumOfHalves(nn.Module):
    """A `Concatenation` as two products that are added, so that nothing is put side by side."""

    def __init__(self, join: Concatenation) -> None:
        super().__init__()
        self.linear = join.linear

    def forward(self, cells: Tensor, lifted: Tensor) -> Tensor:
        """Join (B, H, W, D) and (B, H, W, D)."""
        weight, dim = self.linear.weight, self.linear.out_features
        own = F.linear(cells.to(weight.dtype), weight[:, :dim], self.linear.bias)
        return own + F.linear(lifted.to(weight.dtype), weight[:, dim:])


def over_rows(part: Part) -> Part:
    """The same part, written for the compiler; the original and its tensors stay as they are."""
    network = shared_copy(part.module)
    for module in list(network.modules()):
        for name, child in module.named_children():
            match child:
                case Patchify():
                    setattr(module, name, PatchRows(child))
                case Concatenation():
                    setattr(module, name, SumOfHalves(child))
                case Attention() if is_narrow(child):
                    setattr(module, name, WideHeads(child))
                case _:
                    pass
    return replace(part, module=network)
