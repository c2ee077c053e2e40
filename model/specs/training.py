"""One training run, and how a machine carries it out."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, PositiveInt

from model.specs.base import Spec

Weight = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimiserSpec(Spec):
    """AdamW with warm-up, a constant rate and a linear tail; an exponential average beside it."""

    rate: float = Field(gt=0)
    betas: tuple[Decay, Decay] = (0.99, 0.99)
    weight_decay: float = Field(default=0.03, ge=0)
    warmup_steps: int = Field(default=5000, ge=0)
    tail: float = Field(default=0.0, ge=0, lt=1, description="share of steps with a falling rate")
    tail_floor: float = Field(default=0.02, ge=0, le=1, description="rate at the end of the tail")
    clip_norm: float | None = Field(default=None, gt=0)
    ema: Decay = 0.9999


class Loss(StrEnum):
    """Which branches are held to a target."""

    MULTI_SCALE = "multi-scale"  # all, each to its own: DiMR
    LAST = "last"  # the highest alone: the ablation


class Measured(StrEnum):
    """What the squared error is taken of."""

    PREDICTION = "prediction"  # whatever the network predicts
    NOISE = "noise"  # the noise that its prediction stands for: alpha^2 the error of a velocity


class Crop(Spec):
    """Strategic cropping (arXiv:2407.06079): higher scales train on a window of each image.

    The lowest scale sees whole images. Resampling goes before cropping, so noise and pixels of a
    window are those of the whole. The last steps see whole images at every scale.
    """

    side: PositiveInt = Field(description="of the window, in pixels of the lowest scale")
    share: float = Field(default=0.9, gt=0, le=1, description="of the steps, from the first on")


class Times(StrEnum):
    """How the diffusion times of a batch are drawn from [t_min, t_max]."""

    STRATIFIED = "stratified"  # one from each of B equal parts
    DISCRETE = "discrete"  # independent, n / 1000 for a whole n: the DiMR authors


class TrainingSpec(Spec):
    """What determines every weight; `batch` counts the examples of a step over all processes."""

    steps: PositiveInt
    batch: PositiveInt
    seed: int = Field(default=0, ge=0, lt=2**63)
    condition_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="how often the class or text is withheld"
    )
    loss: Loss = Loss.MULTI_SCALE
    measured: Measured = Measured.PREDICTION
    scale_weights: tuple[Weight, ...] | None = Field(
        default=None, description="of each scale of a layered network, low to high; 1 if left out"
    )
    crop: Crop | None = None
    times: Times = Times.STRATIFIED
    optimiser: OptimiserSpec


class Precision(StrEnum):
    """What the network computes in; weights, norms, loss and optimiser stay in float32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"  # with a dynamic loss scale


class Parallelism(StrEnum):
    """How several processes share a run."""

    DDP = "ddp"  # each holds the whole network
    FSDP = "fsdp"  # each holds a share of every tensor (FSDP2)


class NormKernels(StrEnum):
    """What computes time-dependent norms."""

    PYTORCH = "pytorch"
    TRITON = "triton"


class ExecutionSpec(Spec):
    """How a run is carried out on its machine: speed and memory, not what is learnt.

    Results agree to rounding across these; they are equal bit for bit only where these are equal.
    """

    precision: Precision = Precision.FP32
    accumulate: PositiveInt = Field(default=1, description="parts that a process cuts a batch into")
    checkpoint_activations: bool = Field(default=False, description="recompute blocks in backward")
    compile: bool = False
    parallelism: Parallelism = Parallelism.DDP
    kernels: NormKernels = NormKernels.PYTORCH
