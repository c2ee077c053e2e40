"""One training run, and how a machine carries it out."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, PositiveInt

from model.specs.base import Spec

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


class Times(StrEnum):
    """How the diffusion times of a batch are drawn from [t_min, t_max]."""

    STRATIFIED = "stratified"  # one from each of B equal parts
    DISCRETE = "discrete"  # independent, n / 1000 for a whole n: the DiMR authors


class TrainingSpec(Spec):
    """What determines every weight; `batch` counts the examples of a step over all processes."""

    steps: PositiveInt
    batch: PositiveInt
    seed: int = Field(default=0, ge=0, lt=2**63)
    class_dropout: float = Field(default=0.1, ge=0, lt=1)
    loss: Loss = Loss.MULTI_SCALE
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


class ExecutionSpec(Spec):
    """How a run is carried out on its machine: speed and memory, not what is learnt.

    Results agree to rounding across these; they are equal bit for bit only where these are equal.
    """

    precision: Precision = Precision.FP32
    accumulate: PositiveInt = Field(default=1, description="parts that a process cuts a batch into")
    checkpoint_activations: bool = Field(default=False, description="recompute blocks in backward")
    compile: bool = False
    parallelism: Parallelism = Parallelism.DDP
