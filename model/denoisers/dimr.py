"""DiMR (arXiv:2406.09416): branches of rising resolution joined by a feature cascade.

Every branch sees the whole image through its own patches; the lowest ones are Transformers with a
class token, the higher ones ConvNeXt. Each branch hands *all* its block features to the next and
makes a prediction of its own, which the multi-scale loss supervises.
"""

import torch
from torch import Tensor, nn

from model.layers.blocks import ConvNeXtBlock, TransformerBlock, UShape
from model.layers.resample import CascadeUpsample, Patchify, PredictionHead
from model.specs.networks import AnyStage, ConvNeXtStage, DiMRSpec, TransformerStage


def time_code(t: Tensor) -> Tensor:
    """Map diffusion time (B,) in (0, 1] to tau in (-1, 1], what every time-dependent norm reads.

    The authors feed 8 t - 4 and divide it by 4; it grows with the noise.
    """
    return 2 * t.float() - 1


class Stage(nn.Module):
    """One branch: patches, position, the cascade from below, a U of blocks, and a prediction."""

    def __init__(self, spec: AnyStage, model: DiMRSpec, index: int) -> None:
        super().__init__()
        grid = model.grids[index]
        self.patchify = Patchify(model.channels, spec.dim, patch=spec.patch, pool=spec.pool)
        self.position = nn.Embedding(grid * grid, spec.dim)
        self.upsample: CascadeUpsample | None = None
        if index > 0:
            below = model.stages[index - 1]
            factor = grid // model.grids[index - 1]
            self.upsample = CascadeUpsample(below.dim * (below.blocks + 1), spec.dim, factor)
        self.class_embedding: nn.Embedding | None = None
        match spec:
            case TransformerStage():
                self.class_embedding = nn.Embedding(model.classes + 1, spec.dim)
                blocks: list[nn.Module] = [
                    TransformerBlock(spec.dim, spec.hidden, spec.heads, model.norm)
                    for _ in range(spec.blocks)
                ]
            case ConvNeXtStage():
                blocks = [
                    ConvNeXtBlock(spec.dim, spec.hidden, spec.kernel, model.norm)
                    for _ in range(spec.blocks)
                ]
        self.trunk = UShape(blocks, spec.dim)
        self.head = PredictionHead(spec.dim, model.channels)

    def forward(
        self, image: Tensor, tau: Tensor, y: Tensor, below: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Predict at this stage's grid.

        Args:
            image: (B, C, S, S), the same for every stage.
            tau: (B,) time code.
            y: (B,) class index.
            below: (B, h, w, D' (n' + 1)) features of the stage below, None for the first.

        Returns:
            The prediction (B, C, H, W) and the n + 1 features (B, H, W, D) for the next stage.
        """
        x = self.patchify(image)
        grid = x.shape[1:3]
        x = x + self.position.weight.view(*grid, -1)
        if self.upsample is not None:
            x = x + self.upsample(below, tau)
        if self.class_embedding is None:
            features = self.trunk(x, tau)
        else:
            tokens = torch.cat((self.class_embedding(y)[:, None], x.flatten(1, 2)), dim=1)
            features = [f[:, 1:].unflatten(1, grid) for f in self.trunk(tokens, tau)]
        return self.head(features[-1], tau), features


class DiMR(nn.Module):
    """The whole denoiser, freshly initialised as the authors do."""

    def __init__(self, spec: DiMRSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stages = nn.ModuleList(
            Stage(stage, spec, index) for index, stage in enumerate(spec.stages)
        )
        self.apply(_initialise)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> list[Tensor]:
        """Predict the noise at every branch.

        Args:
            x: (B, C, H, W) noisy input with C = channels and H = W = size of the spec.
            t: (B,) diffusion time in (0, 1]; samples may be at different times.
            y: (B,) int64 class index, `spec.classes` for the null class.

        Returns:
            One tensor (B, C, grid, grid) a branch, low to high resolution; the last is *the*
            prediction.
        """
        tau = time_code(t)
        predictions: list[Tensor] = []
        features: list[Tensor] = []
        for stage in self.stages:
            below = torch.cat(features, dim=-1) if features else None
            prediction, features = stage(x, tau, y, below)
            predictions.append(prediction)
        return predictions


def _initialise(module: nn.Module) -> None:
    """Truncated normal of 0.02 for linear layers and embeddings; convolutions keep PyTorch's."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
