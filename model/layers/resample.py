"""Between images and grids: patches in, the feature cascade up, and the prediction head out."""

from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.norm import TDLayerNorm


class Patchify(nn.Module):
    """Average-pool the image, then embed each patch with one convolution of kernel = stride."""

    def __init__(self, channels: int, dim: int, *, patch: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.embed = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        """Embed (B, C, S, S) as (B, H, W, D) with H = W = S / (pool * patch)."""
        cells: Tensor = self.embed(F.avg_pool2d(image, self.pool))
        return cells.permute(0, 2, 3, 1)


class CascadeUpsample(nn.Module):
    """All features of the stage below, normalised as one vector a cell, lifted to a finer grid.

    TD-LN -> linear to factor^2 * dim -> depth to space -> TD-LN. Output channel (a * factor + b) *
    dim + c of the linear layer lands on pixel (factor * i + a, factor * j + b), channel c: not the
    order of `nn.PixelShuffle`.
    """

    def __init__(self, width: int, dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.norm_in = TDLayerNorm(width)
        self.linear = nn.Linear(width, factor * factor * dim)
        self.norm_out = TDLayerNorm(dim)

    def forward(self, features: Tensor, tau: Tensor) -> Tensor:
        """Lift (B, H, W, width) to (B, factor * H, factor * W, dim)."""
        cells: Tensor = self.linear(self.norm_in(features, tau))
        batch, height, width, _ = cells.shape
        f = self.factor
        cells = cells.view(batch, height, width, f, f, -1).permute(0, 1, 3, 2, 4, 5)
        pixels = cells.reshape(batch, height * f, width * f, -1)
        out: Tensor = self.norm_out(pixels, tau)
        return out


class PredictionHead(nn.Module):
    """TD-LN and a 3x3 convolution straight to the image's channels."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.norm = TDLayerNorm(dim)
        self.conv = nn.Conv2d(dim, channels, 3, padding=1)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map (B, H, W, D) to (B, C, H, W)."""
        out: Tensor = self.conv(self.norm(x, tau).permute(0, 3, 1, 2))
        return out
