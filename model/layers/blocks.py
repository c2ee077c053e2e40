"""The two kinds of block: residual mixing over the grid, then a residual gated MLP."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.norm import block_norm
from model.specs.networks import Norm


class Attention(nn.Module):
    """Multi-head self-attention that normalises its own input; qkv has no bias."""

    def __init__(self, dim: int, heads: int, norm: Norm) -> None:
        super().__init__()
        self.heads = heads
        self.norm = block_norm(norm, dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Attend over tokens: x (B, N, D), tau (B,) -> (B, N, D)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm(x, tau)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class GatedMLP(nn.Module):
    """GEGLU (arXiv:2002.05202) that normalises its own input: out(gelu(gate u) * value u)."""

    def __init__(self, dim: int, hidden: int, norm: Norm) -> None:
        super().__init__()
        self.norm = block_norm(norm, dim)
        self.gate = nn.Linear(dim, hidden)
        self.value = nn.Linear(dim, hidden)
        self.out = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Mix channels: x (B, ..., D), tau (B,) -> (B, ..., D)."""
        u = self.norm(x, tau)
        out: Tensor = self.out(F.gelu(self.gate(u)) * self.value(u))
        return out


class TransformerBlock(nn.Module):
    """Attention over tokens, then the MLP."""

    def __init__(self, dim: int, hidden: int, heads: int, norm: Norm) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, norm)
        self.mlp = GatedMLP(dim, hidden, norm)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map x (B, N, D) at times tau (B,) to the same shape."""
        x = x + self.attention(x, tau)
        out: Tensor = x + self.mlp(x, tau)
        return out


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution without a norm of its own, then the MLP; two residuals, not one."""

    def __init__(self, dim: int, hidden: int, kernel: int, norm: Norm) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.mlp = GatedMLP(dim, hidden, norm)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Map x (B, H, W, D), channels last, at times tau (B,) to the same shape."""
        x = x + self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = x + self.mlp(x, tau)
        return out


class UShape(nn.Module):
    """An odd number of blocks with long skips from the first half to the second (U-ViT)."""

    def __init__(self, blocks: list[nn.Module], dim: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.skips = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(len(blocks) // 2))

    def forward(self, x: Tensor, tau: Tensor) -> list[Tensor]:
        """Run all blocks on x (B, ..., D); return x and every block's output in order."""
        half = len(self.skips)
        features = [x]
        for block in self.blocks[: half + 1]:
            features.append(block(features[-1], tau))
        for index, (skip, block) in enumerate(
            zip(self.skips, self.blocks[half + 1 :], strict=True)
        ):
            joined = torch.cat((features[-1], features[half - index]), dim=-1)
            features.append(block(skip(joined), tau))
        return features
