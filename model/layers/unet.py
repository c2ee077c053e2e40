"""The pieces of a text-conditional U-Net: residual blocks, attention, and ways up and down.

Every block is called as block(x, embedding, text, mask): x (B, C, H, W), the time-and-text
embedding (B, E), token states (B, L, E) and which of them count (B, L). At least one token of each
sample must count.
"""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.rows import RowLinear

GROUPS = 32  # of a group norm at most
MLP_RATIO = 4  # inner width of a Transformer block's MLP

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def group_norm(width: int) -> nn.GroupNorm:
    """A group norm of up to 32 groups of two channels or more.

    A group of one would take every channel's mean away, and with it the colour of the image.
    """
    return nn.GroupNorm(math.gcd(GROUPS, width // 2), width)


def zeroed(layer: Layer) -> Layer:
    """The layer with all weights zero: a branch that ends in it starts as nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResidualBlock(nn.Module):
    """Two convolutions; the embedding scales and shifts between them (simple diffusion)."""

    def __init__(self, width_in: int, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = group_norm(width_in)
        self.inner = nn.Conv2d(width_in, width, 3, padding=1)
        self.film = RowLinear(embedding, 2 * width)
        self.norm_out = group_norm(width)
        self.dropout = nn.Dropout(dropout)
        self.outer = zeroed(nn.Conv2d(width, width, 3, padding=1))
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map x (B, C_in, H, W) to (B, C, H, W)."""
        hidden = self.inner(F.silu(self.norm_in(x)))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = F.silu(torch.addcmul(shift, self.norm_out(hidden), 1 + scale))
        out: Tensor = self.skip(x) + self.outer(self.dropout(hidden))
        return out


class SelfAttention(nn.Module):
    """Attention of all cells to each other, added to x."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.heads = width // head_width
        self.norm = group_norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = zeroed(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W) of x."""
        cells = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = cells.transpose(-1, -2).contiguous().unbind(1)  # as fused kernels ask
        seen = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = x + self.out(seen.transpose(-1, -2).reshape(x.shape))
        return out


class CrossAttention(nn.Module):
    """Attention of all cells to the tokens that count, added to x."""

    def __init__(self, width: int, head_width: int, embedding: int) -> None:
        super().__init__()
        self.heads = width // head_width
        self.norm = group_norm(width)
        self.query = nn.Conv2d(width, width, 1)
        self.key_value = nn.Linear(embedding, 2 * width)
        self.out = zeroed(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W) of x."""
        cells = self.query(self.norm(x)).flatten(2).unflatten(1, (self.heads, -1))
        query = cells.transpose(-1, -2).contiguous()  # as fused kernels ask
        tokens = self.key_value(text).unflatten(2, (2, self.heads, -1))
        key, value = tokens.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        out: Tensor = x + self.out(seen.transpose(-1, -2).reshape(x.shape))
        return out


class LevelBlock(nn.Module):
    """A residual block of one resolution, with attention to itself and to the text if asked for."""

    def __init__(
        self,
        width_in: int,
        width: int,
        *,
        embedding: int,
        head_width: int,
        attention: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.residual = ResidualBlock(width_in, width, embedding, dropout)
        self.attention = SelfAttention(width, head_width) if attention else None
        self.cross = CrossAttention(width, head_width, embedding) if attention else None

    def forward(self, x: Tensor, embedding: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Map x (B, C_in, H, W) to (B, C, H, W)."""
        x = self.residual(x, embedding)
        if self.attention is not None:
            x = self.attention(x)
        if self.cross is not None:
            x = self.cross(x, text, mask)
        return x


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text, and an MLP that the embedding scales and shifts."""

    def __init__(self, width: int, *, embedding: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, head_width)
        self.cross = CrossAttention(width, head_width, embedding)
        self.norm = group_norm(width)
        self.film = RowLinear(embedding, 2 * width)
        self.inner = nn.Conv2d(width, MLP_RATIO * width, 1)
        self.dropout = nn.Dropout(dropout)
        self.outer = zeroed(nn.Conv2d(MLP_RATIO * width, width, 1))

    def forward(self, x: Tensor, embedding: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W) of x."""
        x = self.cross(self.attention(x), text, mask)
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = F.gelu(self.inner(torch.addcmul(shift, self.norm(x), 1 + scale)))
        out: Tensor = x + self.outer(self.dropout(hidden))
        return out


class Upsample(nn.Module):
    """Repeat every cell, then a convolution to the width of the level above."""

    def __init__(self, width_in: int, width: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.conv = nn.Conv2d(width_in, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, ratio H, ratio W)."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=self.ratio, mode="nearest"))
        return out


class TextReader(nn.Module):
    """The encoder's token states as the network reads them, behind one learnt token.

    The learnt token always counts, so that a text may be empty.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, embedding)
        self.first = nn.Parameter(torch.randn(embedding) / math.sqrt(embedding))

    def forward(self, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Read states (B, L, W) of which those in the mask (B, L) count; others may be anything.

        Returns:
            Tokens (B, 1 + L, E), all of them finite, and their mask (B, 1 + L).
        """
        counted = text.masked_fill(~mask[..., None], 0)  # 0 times infinity is not 0
        tokens = self.linear(self.norm(counted))
        first = self.first.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
        return torch.cat((first, tokens), 1), F.pad(mask, (1, 0), value=True)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of the tokens (B, L, E) that count, at least one of each sample: (B, E)."""
    weights = mask.to(tokens.dtype)[..., None]
    return (tokens * weights).sum(1) / weights.sum(1)
