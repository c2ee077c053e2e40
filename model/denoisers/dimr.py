"""DiMR (arXiv:2406.09416): branches of rising resolution joined by a feature cascade.

Every branch sees the whole image through its own patches; the lowest ones are Transformers with a
class token, the higher ones ConvNeXt. Each branch hands *all* its block features to the next and
makes a prediction of its own, which the multi-scale loss supervises. The spec's other values are
the ablations of the paper.
"""

import torch
from torch import Tensor, nn

from model.denoisers.stage import Stage
from model.layers.adaln import AdaLNZero
from model.layers.embedding import TimeCode, TimeEmbedding
from model.layers.trunk import blocks_in
from model.specs.networks import DiMRSpec, Features, TimeInput


class DiMR(nn.Module):
    """The whole denoiser, freshly initialised as the authors do.

    Invariant: `time` maps t (B,) to what the stages read of it, by the spec's way in: tau (B,) for
    norms, t itself for time tokens, an embedding (B, widest stage) for AdaLN-Zero.
    """

    def __init__(self, spec: DiMRSpec) -> None:
        super().__init__()
        self.spec = spec
        self.time = _time_reader(spec)
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
        time = self.time(t)
        predictions: list[Tensor] = []
        features: list[Tensor] = []
        for stage in self.stages:
            below = self._handed(features) if features else None
            prediction, features = stage(x, time, y, below)
            predictions.append(prediction)
        return predictions

    def checkpoint_blocks(self) -> None:
        """From now on, recompute every block in the backward pass: less memory, same gradients."""
        for blocks in blocks_in(self):
            blocks.recompute()

    def _handed(self, features: list[Tensor]) -> Tensor:
        """What of a stage's features (B, H, W, D) goes up, as one tensor."""
        match self.spec.features:
            case Features.ALL:
                return torch.cat(features, dim=-1)
            case Features.LAST:
                return features[-1]


def _time_reader(spec: DiMRSpec) -> nn.Module:
    match spec.time:
        case TimeInput.NORM:
            return TimeCode()
        case TimeInput.TOKEN:
            return nn.Identity()
        case TimeInput.ADALN_ZERO:
            widest = max(stage.dim for stage in spec.stages)
            return TimeEmbedding(widest, widest)


def _initialise(module: nn.Module) -> None:
    """Truncated normal of 0.02 for linear layers and embeddings; convolutions keep PyTorch's."""
    match module:
        case nn.Linear() | nn.Embedding():
            nn.init.trunc_normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        case AdaLNZero():
            module.reset()
        case _:
            pass
