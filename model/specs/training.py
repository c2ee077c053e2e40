"""One training run."""

from pydantic import Field, PositiveInt

from model.specs.base import Spec


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
