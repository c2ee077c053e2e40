"""One branch of a DiMR, in the released form and in its ablations."""

from torch import Tensor, nn

from model.denoisers.block import build_block
from model.layers.embedding import time_sinusoids
from model.layers.extras import run_over_grid, run_over_tokens
from model.layers.norm import LayerNorm, TDLayerNorm
from model.layers.resample import (
    Addition,
    CascadeUpsample,
    Concatenation,
    Patchify,
    PredictionHead,
)
from model.layers.trunk import UShape
from model.specs.networks import (
    AnyStage,
    Cascade,
    ClassInput,
    ConvNeXtStage,
    DiMRSpec,
    TimeInput,
    TransformerStage,
)


class Stage(nn.Module):
    """Patches, position, the cascade from below, a U of blocks, and a prediction."""

    def __init__(self, spec: AnyStage, model: DiMRSpec, index: int) -> None:
        super().__init__()
        grid = model.grids[index]
        norm = TDLayerNorm if model.time is TimeInput.NORM else LayerNorm
        self.patchify = Patchify(model.channels, spec.dim, patch=spec.patch, pool=spec.pool)
        self.position = nn.Embedding(grid * grid, spec.dim)
        self.upsample: CascadeUpsample | None = None
        if index > 0:
            width, factor = model.handed_widths[index - 1], grid // model.grids[index - 1]
            self.upsample = CascadeUpsample(width, spec.dim, factor, norm)
        concatenated = index > 0 and model.cascade is Cascade.CONCAT
        self.join = Concatenation(spec.dim) if concatenated else Addition()
        self.side = int(index > 0 and model.cascade is Cascade.SKIPS)
        match spec:
            case TransformerStage():
                self._run = run_over_tokens
                sees_class, self.has_time_token = True, model.time is TimeInput.TOKEN
            case ConvNeXtStage():
                self._run = run_over_grid
                sees_class, self.has_time_token = spec.class_input is ClassInput.ADDED, False
        self.class_embedding = nn.Embedding(model.classes + 1, spec.dim) if sees_class else None
        blocks = [build_block(spec, model) for _ in range(spec.blocks)]
        self.trunk = UShape(blocks, spec.dim, side=self.side)
        self.head = PredictionHead(spec.dim, model.channels, norm)

    def forward(
        self, image: Tensor, time: Tensor, y: Tensor, below: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Predict at this stage's grid.

        Args:
            image: (B, C, S, S), the same for every stage.
            time: what norms, time tokens and modulations read, see `DiMR`.
            y: (B,) class index.
            below: (B, h, w, D') what the stage below hands up, None for the first.

        Returns:
            The prediction (B, C, H, W) and the n + 1 features (B, H, W, D) for the next stage.
        """
        x = self.patchify(image)
        x = x + self.position.weight.view(*x.shape[1:3], -1)
        side: list[Tensor] = []
        if self.upsample is not None:
            lifted = self.upsample(below, time)
            x = self.join(x, lifted)
            side = [lifted] * self.side
        features = self._run(self.trunk, x, self._extras(time, y), time, side)
        return self.head(features[-1], time), features

    def _extras(self, time: Tensor, y: Tensor) -> list[Tensor]:
        """The vectors (B, D) about the whole image."""
        extras = [] if self.class_embedding is None else [self.class_embedding(y)]
        if self.has_time_token:
            extras.append(time_sinusoids(time, self.position.embedding_dim))
        return extras
