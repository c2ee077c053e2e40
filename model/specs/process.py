"""The diffusion around a network, and what a request for an image gets where it is silent."""

import math
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from model.specs.base import Spec

LogSNR = Annotated[float, Field(ge=-30, le=30)]  # far beyond what any schedule has


class DiscreteScheduleSpec(Spec):
    """Stable Diffusion's thousand betas, used by the latent models."""

    kind: Literal["stable-diffusion"] = "stable-diffusion"


class CosineScheduleSpec(Spec):
    """Cosine schedule; `shift` is added to the log-SNR (simple diffusion, arXiv:2301.11093)."""

    kind: Literal["cosine"] = "cosine"
    shift: LogSNR = 0.0


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


class ScalesSpec(Spec):
    """How the scales of a layered process hang together (arXiv:2407.06079).

    A scale of side d has the log-SNR of the schedule plus 2 ln(reference / d) plus its delay. Where
    the noise of two scales is one draw, resampled, a delay between them would let the network
    subtract that noise and read the clean image; see `_nothing_leaks`.
    """

    reference: PositiveInt = Field(default=64, description="side whose schedule is not shifted")
    delays: tuple[LogSNR, ...] | None = Field(
        default=None,
        description="added to the log-SNR of each scale, low to high; none if left out",
    )
    shared: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="correlation of a lower scale's noise with the resampled noise of the highest: "
        "1 is the paper's, 0 draws each scale's independently",
    )

    @model_validator(mode="after")
    def _nothing_leaks(self) -> Self:
        """Refuse noise from which two scales together tell more than two independent looks.

        Seen at the lower scale, both are the clean image plus noise, of deviations 1 : k with
        k = exp(-delta / 2) for delays that differ by delta, and of correlation c. Together they
        tell as much as (1 + k^2 - 2 c k) / (k^2 (1 - c^2)), in units of the lower one alone;
        independent noise gives 1 + 1 / k^2. The former is no more than the latter just where
        c <= 2 k / (1 + k^2) = 1 / cosh(delta / 2). With c = 1 that leaves no delay at all: then the
        two are linear equations with one solution, the clean image.
        """
        delays = self.delays or ()
        top = len(delays) - 1
        for high in range(1, len(delays)):
            for low in range(high):
                delta = delays[high] - delays[low]
                correlation = self.shared if high == top else self.shared**2
                most = 1 / math.cosh(delta / 2)
                if correlation > most:
                    msg = (
                        f"shared: got {self.shared} with delays {delays[low]} and {delays[high]} "
                        f"of scales {low} and {high}, whose noise then has the correlation "
                        f"{correlation:.4g}; allowed: a correlation of at most {most:.4g}, or "
                        f"equal delays. Otherwise the network subtracts the shared noise and "
                        f"reads the clean image, which it cannot do when sampling"
                    )
                    raise ValueError(msg)
        return self


class ProcessSpec(Spec):
    """The diffusion around a network: how data, time and output are to be read."""

    codec: CodecSpec = PixelsSpec()
    schedule: ScheduleSpec
    scales: ScalesSpec | None = Field(default=None, description="of a layered network alone")
    prediction: Prediction
    t_min: float = Field(gt=0, lt=1, description="least diffusion time that is trained on")
    t_max: float = Field(gt=0, le=1, description="largest diffusion time that is trained on")

    @model_validator(mode="after")
    def _scales_have_a_cosine(self) -> Self:
        if self.scales is not None and not isinstance(self.schedule, CosineScheduleSpec):
            msg = f"schedule.kind: got {self.schedule.kind!r} with scales; allowed: 'cosine'"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _times_are_ordered(self) -> Self:
        if self.t_min >= self.t_max:
            msg = f"t_min: got {self.t_min}; allowed: less than t_max = {self.t_max}"
            raise ValueError(msg)
        return self
