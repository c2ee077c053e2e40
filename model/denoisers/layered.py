"""The layered U-Net (arXiv:2407.06079): an image in and an image out at every scale.

The lowest scale has a whole U-Net, the core. A higher scale adds a level of its own: its image
enters by one convolution (isolated downsampling: nothing of it reaches the levels below) and meets
the features from below on the way up. So the graph is causal from low to high: what comes out at a
scale depends on that scale and the lower ones, and a lower scale can be had for its own cost.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.embedding import TimeEmbedding
from model.layers.rows import RowLinear
from model.layers.trunk import Blocks, blocks_in
from model.layers.unet import (
    LevelBlock,
    TextReader,
    TransformerBlock,
    Upsample,
    group_norm,
    masked_mean,
    zeroed,
)
from model.specs.layered import LayeredSpec, Level

FREQUENCIES = 256  # width of the time sinusoids

Condition = tuple[Tensor, Tensor, Tensor]
"""Embedding (B, E), tokens (B, L, E), and which tokens count (B, L)."""


class LayeredUNet(nn.Module):
    """The whole denoiser, freshly initialised: it predicts zero at every scale."""

    def __init__(self, spec: LayeredSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.embedding
        self.time = TimeEmbedding(FREQUENCIES, width)
        self.text = TextReader(spec.text.width, width)
        self.pooled = RowLinear(width, width)
        self.core = Core(spec)
        below = (spec.core[0], *spec.outer)
        ratios = [high // low for low, high in pairwise(spec.scales)]
        self.outer = nn.ModuleList(
            OuterLevel(spec, low.width, level, ratio)
            for low, level, ratio in zip(below, spec.outer, ratios, strict=False)
        )
        self.outputs = nn.ModuleList(Output(level.width, spec.channels) for level in below)

    def forward(
        self,
        z: Sequence[Tensor],
        t: Tensor,
        text: Tensor,
        text_mask: Tensor,
        window: Tensor | None = None,
    ) -> list[Tensor]:
        """Predict at every scale that is given.

        Args:
            z: (B, 3, d, d) noisy images, low to high; the lowest alone, or as many as are wanted.
            t: (B,) diffusion time in (0, 1]; samples may be at different times.
            text: (B, L, W) token states of the text encoder.
            text_mask: (B, L) bool, which of them count; a sample with none has no text.
            window: (B, 2) int64, in training alone: row and column, in pixels of the lowest scale,
                of the window that the higher scales of each sample show.

        Returns:
            One prediction like each of `z`, of what the process says.
        """
        assert 1 <= len(z) <= len(self.spec.scales)
        tokens, mask = self.text(text, text_mask)
        embedding = F.silu(self.time(t) + self.pooled(masked_mean(tokens, mask)))
        condition = (embedding, tokens, mask)
        features = self.core(z[0], condition)
        predictions = [self.outputs[0](features)]
        for index, (level, image) in enumerate(zip(self.outer, z[1:], strict=False), 1):
            assert isinstance(level, OuterLevel)
            if index == 1 and window is not None:  # further levels see what is cut already
                features = cut(features, window, image.shape[-1] // level.ratio)
            features = level(features, image, condition)
            predictions.append(self.outputs[index](features))
        return predictions

    def checkpoint_blocks(self) -> None:
        """From now on, recompute every block in the backward pass: less memory, same gradients."""
        for blocks in blocks_in(self):
            blocks.recompute()


class Core(nn.Module):
    """The U-Net of the lowest scale: down, through the middle, and up with a skip a block."""

    def __init__(self, spec: LayeredSpec) -> None:
        super().__init__()
        levels, widths = spec.core, [level.width for level in spec.core]
        self.enter = nn.Conv2d(spec.channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            Blocks([_block(spec, level, level.width, index) for _ in range(level.blocks)])
            for index, level in enumerate(levels)
        )
        self.fall = nn.ModuleList(
            nn.Conv2d(high, low, 3, stride=2, padding=1) for high, low in pairwise(widths)
        )
        self.middle = Blocks(
            [
                TransformerBlock(
                    widths[-1],
                    embedding=spec.embedding,
                    head_width=spec.head_width,
                    dropout=spec.dropout,
                )
                for _ in range(spec.middle)
            ]
        )
        self.up = nn.ModuleList(
            Blocks([_block(spec, level, 2 * level.width, index) for _ in range(level.blocks)])
            for index, level in enumerate(levels)
        )
        self.rise = nn.ModuleList(Upsample(low, high, 2) for high, low in pairwise(widths))

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        """Features (B, C, d, d) of the noisy image z (B, 3, d, d) of the lowest scale."""
        x: Tensor = self.enter(z)
        skips: list[list[Tensor]] = []
        for index, blocks in enumerate(self.down):
            if index:
                x = self.fall[index - 1](x)
            kept = []
            assert isinstance(blocks, Blocks)
            for place in range(len(blocks)):
                x = blocks.run(place, x, *condition)
                kept.append(x)
            skips.append(kept)
        for place in range(len(self.middle)):
            x = self.middle.run(place, x, *condition)
        for index in reversed(range(len(self.up))):
            blocks = self.up[index]
            assert isinstance(blocks, Blocks)
            for place in range(len(blocks)):
                x = blocks.run(place, torch.cat((x, skips[index].pop()), 1), *condition)
            if index:
                x = self.rise[index - 1](x)
        return x


class OuterLevel(nn.Module):
    """One higher scale: its noisy image joins the features from below, in every block."""

    def __init__(self, spec: LayeredSpec, width_below: int, level: Level, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.enter = nn.Conv2d(spec.channels, level.width, 3, padding=1)
        self.rise = Upsample(width_below, level.width, ratio)
        self.blocks = Blocks(
            [_block(spec, level, 2 * level.width, None) for _ in range(level.blocks)]
        )

    def forward(self, features: Tensor, z: Tensor, condition: Condition) -> Tensor:
        """Features (B, C, d, d) from those below (B, C_low, d / ratio, d / ratio) and z."""
        own: Tensor = self.enter(z)
        x: Tensor = self.rise(features)
        for place in range(len(self.blocks)):
            x = self.blocks.run(place, torch.cat((x, own), 1), *condition)
        return x


class Output(nn.Module):
    """Features to the prediction of one scale, zero at first."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.conv = zeroed(nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, d, d) to (B, 3, d, d)."""
        out: Tensor = self.conv(F.silu(self.norm(x)))
        return out


def cut(x: Tensor, window: Tensor, side: int) -> Tensor:
    """Cut x (B, C, S, S) to the windows (B, C, side, side) at rows and columns (B, 2)."""
    corners = window.tolist()
    return torch.stack(
        [
            image[:, row : row + side, column : column + side]
            for image, (row, column) in zip(x, corners, strict=True)
        ]
    )


def _block(spec: LayeredSpec, level: Level, width_in: int, place: int | None) -> LevelBlock:
    """A block of a level; `place` counts the levels of the core, None is outside of it."""
    lowest = place == len(spec.core) - 1
    return LevelBlock(
        width_in,
        level.width,
        embedding=spec.embedding,
        head_width=spec.head_width,
        attention=level.attention,
        dropout=spec.dropout if lowest else 0.0,
    )
