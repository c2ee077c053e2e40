"""Architectures and processes as frozen data: what a checkpoint, a recipe and a bundle store.

Every spec refuses unknown keys and checks its own consistency, so a spec that exists can be built.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class Spec(BaseModel):
    """An immutable description; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class DiscreteScheduleSpec(Spec):
    """Stable Diffusion's thousand betas, used by the latent models."""

    kind: Literal["stable-diffusion"] = "stable-diffusion"


class CosineScheduleSpec(Spec):
    """Cosine schedule; `shift` is added to the log-SNR (simple diffusion, arXiv:2301.11093)."""

    kind: Literal["cosine"] = "cosine"
    shift: float = 0.0


ScheduleSpec = Annotated[DiscreteScheduleSpec | CosineScheduleSpec, Field(discriminator="kind")]


class Prediction(StrEnum):
    """What the network's raw output means; outside it is always turned into noise."""

    NOISE = "noise"
    VELOCITY = "velocity"  # v = alpha * noise - sigma * x0 (arXiv:2202.00512)


class PixelsSpec(Spec):
    """The denoised tensor is the image in [-1, 1], with `factor`-fold pixel unshuffling.

    Unshuffling moves each factor x factor cell into channels: (3, S, S) -> (3 factor^2, S/factor,
    S/factor). It is orthogonal, so white noise stays white and nothing is lost.
    """

    kind: Literal["pixels"] = "pixels"
    factor: PositiveInt = 1


CodecSpec = PixelsSpec


SamplerName = Literal["dpmpp_2m", "dpmpp_3m", "dpmpp_2s", "dpmpp_3s", "ddim"]


class SamplingDefaults(Spec):
    """What a request gets where it is silent."""

    sampler: SamplerName = "dpmpp_2m"
    grid: Literal["time", "logsnr"] = "logsnr"
    final: Literal["t_end", "clean"] = Field(
        default="t_end",
        description="stop at the last trained time, or return the data prediction made there",
    )
    steps: PositiveInt = 20
    guidance: float = Field(default=1.5, ge=0, description="scale s of u + s (c - u)")


class ProcessSpec(Spec):
    """The diffusion around a network: how data, time and output are to be read."""

    codec: CodecSpec = PixelsSpec()
    schedule: ScheduleSpec
    prediction: Prediction
    t_min: float = Field(gt=0, lt=1, description="least diffusion time that is trained on")
    t_max: float = Field(gt=0, le=1, description="largest diffusion time that is trained on")

    @model_validator(mode="after")
    def _times_are_ordered(self) -> Self:
        if self.t_min >= self.t_max:
            msg = f"t_min: got {self.t_min}; allowed: less than t_max = {self.t_max}"
            raise ValueError(msg)
        return self


class OptimiserSpec(Spec):
    """AdamW with warm-up, a constant rate and a linear tail; an exponential average beside it."""

    rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.99, 0.99)
    weight_decay: float = Field(default=0.03, ge=0)
    warmup_steps: int = Field(default=5000, ge=0)
    tail: float = Field(default=0.0, ge=0, lt=1, description="share of steps with a falling rate")
    tail_floor: float = Field(default=0.02, ge=0, le=1, description="rate at the end of the tail")
    clip_norm: float | None = Field(default=None, gt=0)
    ema: float = Field(default=0.9999, ge=0, lt=1)


class TrainingSpec(Spec):
    """One training run; with its data it determines every weight, bit for bit on one machine."""

    steps: PositiveInt
    batch: PositiveInt
    seed: int = Field(default=0, ge=0)
    class_dropout: float = Field(default=0.1, ge=0, lt=1)
    optimiser: OptimiserSpec


class EmojiData(Spec):
    """Concepts of the shipped emoji set, one class each."""

    kind: Literal["emoji"] = "emoji"
    concepts: tuple[str, ...] = Field(min_length=1, description="one class each, in index order")
    size: PositiveInt = Field(description="side of the images in pixels")


ModelId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class Recipe(Spec):
    """All that `dimr-train` needs: network, process, run, and what to call the result."""

    id: ModelId
    description: str
    licence: str
    data: EmojiData
    network: DiMRSpec
    process: ProcessSpec
    training: TrainingSpec
    sampling: SamplingDefaults = SamplingDefaults()
