"""DiT (Peebles & Xie 2023, arXiv:2212.09748): one Transformer, time and class by AdaLN-Zero.

It predicts the noise alone, without the published networks' variance.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.adaln import AdaLNZero, ModulatedNorm, over_cells
from model.layers.blocks import Attention, ModulatedTransformerBlock, PlainMLP
from model.layers.embedding import TimeEmbedding, grid_sinusoids
from model.layers.resample import Patchify, unpatchify
from model.layers.trunk import Blocks, blocks_in
from model.specs.networks import DiTSpec

FREQUENCIES = 256  # width of the time sinusoids
EPS = 1e-6


class DiT(nn.Module):
    """The whole denoiser, freshly initialised as its authors do: every block is the identity."""

    position: Tensor

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.spec = spec
        dim = spec.dim
        self.patchify = Patchify(spec.channels, dim, patch=spec.patch, pool=1)
        position = grid_sinusoids(spec.size // spec.patch, dim)
        self.register_buffer("position", position, persistent=False)
        self.time = TimeEmbedding(FREQUENCIES, dim)
        self.class_embedding = nn.Embedding(spec.classes + 1, dim)
        self.blocks = Blocks([_block(spec) for _ in range(spec.blocks)])
        self.head = FinalLayer(dim, spec.patch**2 * spec.channels)
        self._initialise()

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> list[Tensor]:
        """Predict the noise.

        Args:
            x: (B, C, H, W) noisy input with C = channels and H = W = size of the spec.
            t: (B,) diffusion time in (0, 1]; samples may be at different times.
            y: (B,) int64 class index, `spec.classes` for the null class.

        Returns:
            One tensor (B, C, H, W).
        """
        tokens = self.patchify(x).flatten(1, 2) + self.position
        condition = self.time(t) + self.class_embedding(y)
        for index in range(len(self.blocks)):
            tokens = self.blocks.run(index, tokens, condition)
        return [unpatchify(self.head(tokens, condition), self.spec.patch)]

    def checkpoint_blocks(self) -> None:
        """From now on, recompute every block in the backward pass: less memory, same gradients."""
        for blocks in blocks_in(self):
            blocks.recompute()

    def _initialise(self) -> None:
        """Glorot for linear layers, 0.02 for embeddings, zero for modulations and the output."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for weight in (self.class_embedding.weight, self.time.inner.weight, self.time.out.weight):
            nn.init.normal_(weight, std=0.02)
        for module in self.modules():
            if isinstance(module, AdaLNZero | FinalLayer):
                module.reset()


class FinalLayer(nn.Module):
    """A modulated norm and a linear layer to the pixels of a patch, both zero at first."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, EPS, elementwise_affine=False)
        self.modulation = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, width)

    def reset(self) -> None:
        """Back to a prediction of zero."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map tokens (B, N, D) under a condition (B, D) to (B, N, width)."""
        shift, scale = self.modulation(F.silu(condition)).float().chunk(2, dim=-1)
        unit = self.norm(x.float())
        out: Tensor = self.out(torch.addcmul(over_cells(shift, x), unit, over_cells(1 + scale, x)))
        return out


def _block(spec: DiTSpec) -> nn.Module:
    dim = spec.dim
    norms = [ModulatedNorm(nn.LayerNorm(dim, EPS, elementwise_affine=False)) for _ in range(2)]
    attention = Attention(dim, spec.heads, norms[0], qkv_bias=True)
    mlp = PlainMLP(dim, 4 * dim, norms[1], nn.GELU(approximate="tanh"))
    return ModulatedTransformerBlock(attention, mlp, AdaLNZero(dim))
