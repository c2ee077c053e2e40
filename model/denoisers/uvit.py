"""U-ViT (Bao et al. 2023, arXiv:2209.12152): one Transformer with long skips, all inputs tokens.

With AdaLN-Zero or time-dependent norms in place of the time token, rows of DiMR's ablations.
"""

import torch
from torch import Tensor, nn

from model.layers.adaln import AdaLNZero, ModulatedNorm
from model.layers.blocks import (
    Attention,
    ModulatedTransformerBlock,
    PlainMLP,
    TransformerBlock,
)
from model.layers.embedding import TimeCode, TimeEmbedding, time_sinusoids
from model.layers.norm import LAYER_NORM_EPS, LayerNorm, TDLayerNorm
from model.layers.resample import Patchify, unpatchify
from model.layers.trunk import UShape, blocks_in
from model.specs.networks import TimeInput, UViTSpec


class UViT(nn.Module):
    """The whole denoiser, freshly initialised as its authors do.

    Tokens are the class, the time unless it comes another way, then the patches row by row; all
    have learned positions.
    """

    def __init__(self, spec: UViTSpec) -> None:
        super().__init__()
        self.spec = spec
        dim, grid = spec.dim, spec.size // spec.patch
        self.has_time_token = spec.time is TimeInput.TOKEN
        self.extras = 2 if self.has_time_token else 1
        self.time = _time_reader(spec)
        self.patchify = Patchify(spec.channels, dim, patch=spec.patch, pool=1)
        self.class_embedding = nn.Embedding(spec.classes + 1, dim)
        self.position = nn.Embedding(self.extras + grid * grid, dim)
        self.trunk = UShape([_block(spec) for _ in range(spec.blocks)], dim)
        self.norm = TDLayerNorm(dim) if spec.time is TimeInput.NORM else LayerNorm(dim)
        self.decoder = nn.Linear(dim, spec.patch**2 * spec.channels)
        self.conv = nn.Conv2d(spec.channels, spec.channels, 3, padding=1)
        self.apply(_initialise)
        nn.init.trunc_normal_(self.position.weight, std=0.02)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> list[Tensor]:
        """Predict the noise.

        Args:
            x: (B, C, H, W) noisy input with C = channels and H = W = size of the spec.
            t: (B,) diffusion time in (0, 1]; samples may be at different times.
            y: (B,) int64 class index, `spec.classes` for the null class.

        Returns:
            One tensor (B, C, H, W).
        """
        extras, condition = [self.class_embedding(y)], self.time(t)
        if self.has_time_token:
            extras.append(time_sinusoids(t, self.spec.dim))
        tokens = torch.cat((torch.stack(extras, dim=1), self.patchify(x).flatten(1, 2)), dim=1)
        tokens = self.trunk(tokens + self.position.weight, condition)[-1]
        patches = self.decoder(self.norm(tokens[:, self.extras :], condition))
        return [self.conv(unpatchify(patches, self.spec.patch))]

    def checkpoint_blocks(self) -> None:
        """From now on, recompute every block in the backward pass: less memory, same gradients."""
        for blocks in blocks_in(self):
            blocks.recompute()


def _time_reader(spec: UViTSpec) -> nn.Module:
    match spec.time:
        case TimeInput.NORM:
            return TimeCode()
        case TimeInput.TOKEN:
            return nn.Identity()
        case TimeInput.ADALN_ZERO:
            return TimeEmbedding(spec.dim, spec.dim)


def _block(spec: UViTSpec) -> nn.Module:
    """One block; AdaLN-Zero comes on top of its norms, from an MLP of its own, not a linear layer.

    That is what DiMR's count of this network (202.4 M) leaves room for.
    """
    dim = spec.dim
    match spec.time:
        case TimeInput.NORM:
            attention = Attention(dim, spec.heads, TDLayerNorm(dim))
            return TransformerBlock(attention, PlainMLP(dim, 4 * dim, TDLayerNorm(dim)))
        case TimeInput.TOKEN:
            attention = Attention(dim, spec.heads, LayerNorm(dim))
            return TransformerBlock(attention, PlainMLP(dim, 4 * dim, LayerNorm(dim)))
        case TimeInput.ADALN_ZERO:
            norms = [ModulatedNorm(nn.LayerNorm(dim, LAYER_NORM_EPS)) for _ in range(2)]
            attention = Attention(dim, spec.heads, norms[0])
            mlp = PlainMLP(dim, 4 * dim, norms[1])
            modulation = nn.Sequential(nn.Linear(dim, dim), AdaLNZero(dim))
            return ModulatedTransformerBlock(attention, mlp, modulation)


def _initialise(module: nn.Module) -> None:
    """Truncated normal of 0.02 for linear layers, PyTorch's own for the rest."""
    match module:
        case nn.Linear():
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        case AdaLNZero():
            module.reset()
        case _:
            pass
