"""Architectures of denoisers as data."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from model.specs.base import Spec


class Norm(StrEnum):
    """The norm inside every attention and MLP of a DiMR; the cascade and the heads use TD-LN."""

    TD_RMSNORM = "td-rmsnorm"  # scale depends on time, mean kept: the released checkpoints
    TD_LAYERNORM = "td-layernorm"  # scale and shift depend on time: the paper's text
    RMSNORM = "rmsnorm"  # one static scale


class StageSpec(Spec):
    """What both kinds of stage have in common.

    The stage sees the image average-pooled `pool`-fold and cut into `patch` x `patch` patches, so
    its grid has size / (pool * patch) cells a side.
    """

    dim: PositiveInt
    blocks: PositiveInt = Field(description="odd: in-blocks, one middle block, out-blocks")
    hidden: PositiveInt = Field(description="width of the GEGLU; 2 * dim in the paper")
    patch: PositiveInt = 1
    pool: PositiveInt = 1

    @model_validator(mode="after")
    def _blocks_are_odd(self) -> Self:
        if self.blocks % 2 == 0:
            msg = (
                f"blocks: got {self.blocks}; allowed: an odd number, since a stage is U-shaped "
                f"(the authors' code rounds {self.blocks} up to {self.blocks + 1})"
            )
            raise ValueError(msg)
        return self


class TransformerStage(StageSpec):
    """Self-attention over the grid and one class token."""

    kind: Literal["transformer"] = "transformer"
    heads: PositiveInt

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            msg = f"heads: got {self.heads}; allowed: a divisor of dim = {self.dim}"
            raise ValueError(msg)
        return self


class ConvNeXtStage(StageSpec):
    """Depthwise convolutions over the grid; it never sees the class."""

    kind: Literal["convnext"] = "convnext"
    kernel: PositiveInt = 7

    @model_validator(mode="after")
    def _kernel_is_odd(self) -> Self:
        if self.kernel % 2 == 0:
            msg = f"kernel: got {self.kernel}; allowed: an odd number, which keeps the grid's size"
            raise ValueError(msg)
        return self


AnyStage = Annotated[TransformerStage | ConvNeXtStage, Field(discriminator="kind")]


class DiMRSpec(Spec):
    """A DiMR (arXiv:2406.09416): stages from the lowest to the highest resolution.

    `size` and `channels` describe the tensor that is denoised (a latent, or an image), `classes`
    counts the real classes; index `classes` is the null class of classifier-free guidance.
    """

    kind: Literal["dimr"] = "dimr"
    size: PositiveInt
    channels: PositiveInt
    classes: PositiveInt
    norm: Norm = Norm.TD_RMSNORM
    stages: tuple[AnyStage, ...] = Field(min_length=1)

    @property
    def grids(self) -> tuple[int, ...]:
        """Cells a side of each stage."""
        return tuple(self.size // (stage.pool * stage.patch) for stage in self.stages)

    @model_validator(mode="after")
    def _stages_fit_the_image_and_each_other(self) -> Self:
        for index, stage in enumerate(self.stages):
            if self.size % (stage.pool * stage.patch):
                msg = (
                    f"stages[{index}]: pool * patch = {stage.pool * stage.patch}; "
                    f"allowed: a divisor of size = {self.size}"
                )
                raise ValueError(msg)
        for index, (low, high) in enumerate(zip(self.grids, self.grids[1:], strict=False), 1):
            if high % low:
                msg = (
                    f"stages[{index}]: a grid of {high} does not follow one of {low}; "
                    f"allowed: a multiple, stages go from low to high resolution"
                )
                raise ValueError(msg)
        return self
