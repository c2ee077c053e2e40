"""Between images and grids: patches in, the feature cascade up, and the prediction head out."""

import math

import torch
from torch import Tensor, nn

from model.layers.norm import NormOf


class Patchify(nn.Module):
    """Average-pool the image, then embed each patch with one convolution of kernel = stride."""

    def __init__(self, channels: int, dim: int, *, patch: int, pool: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.embed = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        """Embed (B, C, S, S) as (B, H, W, D) with H = W = S / (pool * patch).

        The result lies in memory as it is indexed: all layers behind it take its layout over, and
        depthwise convolutions are several times slower on channels that come first.
        """
        pooled = self.pool(image).contiguous(memory_format=torch.channels_last)
        cells: Tensor = self.embed(pooled)
        return cells.permute(0, 2, 3, 1).contiguous()


class CascadeUpsample(nn.Module):
    """All features of the stage below, normalised as one vector a cell, lifted to a finer grid.

    Norm -> linear to factor^2 * dim -> depth to space -> norm; DiMR's norms are TD-LN. Output
    channel (a * factor + b) * dim + c of the linear layer lands on pixel (factor * i + a,
    factor * j + b), channel c: not the order of `nn.PixelShuffle`.
    """

    def __init__(self, width: int, dim: int, factor: int, norm: NormOf) -> None:
        super().__init__()
        self.factor = factor
        self.norm_in = norm(width)
        self.linear = nn.Linear(width, factor * factor * dim)
        self.norm_out = norm(dim)

    def forward(self, features: Tensor, tau: Tensor) -> Tensor:
        """Lift (B, H, W, width) to (B, factor * H, factor * W, dim)."""
        cells: Tensor = self.linear(self.norm_in(features, tau))
        batch, height, width, _ = cells.shape
        f = self.factor
        cells = cells.view(batch, height, width, f, f, -1).permute(0, 1, 3, 2, 4, 5)
        pixels = cells.reshape(batch, height * f, width * f, -1)
        out: Tensor = self.norm_out(pixels, tau)
        return out


class Addition(nn.Module):
    """The cascade joins a stage by addition."""

    def forward(self, cells: Tensor, lifted: Tensor) -> Tensor:
        """Join (B, H, W, D) and (B, H, W, D)."""
        return cells + lifted


class Concatenation(nn.Module):
    """The cascade joins a stage side by side with its cells, projected to their width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * dim, dim)

    def forward(self, cells: Tensor, lifted: Tensor) -> Tensor:
        """Join (B, H, W, D) and (B, H, W, D)."""
        out: Tensor = self.linear(torch.cat((cells, lifted), dim=-1))
        return out


class PredictionHead(nn.Module):
    """A norm (in DiMR TD-LN) and a 3x3 convolution straight to the image's channels."""

    def __init__(self, dim: int, channels: int, norm: NormOf) -> None:
        super().__init__()
        self.norm = norm(dim)
        self.conv = nn.Conv2d(dim, channels, 3, padding=1)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map (B, H, W, D) to (B, C, H, W)."""
        out: Tensor = self.conv(self.norm(x, tau).permute(0, 3, 1, 2))
        return out


def unpatchify(tokens: Tensor, patch: int) -> Tensor:
    """Pixels of a square grid's tokens (B, N, patch^2 C) -> (B, C, S, S), S = patch sqrt(N).

    A token holds its patch row by row, channels last (U-ViT, DiT).
    """
    batch, count, _ = tokens.shape
    grid = math.isqrt(count)
    cells = tokens.reshape(batch, grid, grid, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
    return cells.reshape(batch, -1, grid * patch, grid * patch)
