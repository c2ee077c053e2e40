"""The diffusion around a network, and what a request for an image gets where it is silent."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from model.specs.base import Spec


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


class LatentsSpec(Spec):
    """The denoised tensor is a latent of Stable Diffusion's KL autoencoder, times `scale`."""

    kind: Literal["latents"] = "latents"
    factor: PositiveInt = Field(default=8, description="pixels a latent cell, each way")
    channels: PositiveInt = Field(default=4, description="of a latent; moments have twice as many")
    scale: float = Field(default=0.18215, gt=0, description="makes latents of unit variance")


CodecSpec = Annotated[PixelsSpec | LatentsSpec, Field(discriminator="kind")]


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
