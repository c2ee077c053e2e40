"""What a verification found: for people, for JSON, and for the engine's entry in the manifest."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from export.graph.parts import DECODER, DENOISER, TEXT_ENCODER
from export.parity.cases import Case
from export.parity.figures import written
from export.parity.islands import IslandError
from export.parity.layers import LayerError
from export.parity.networks import CallError
from model.specs.manifest import Parity
from model.specs.process import SamplingDefaults


@dataclass(frozen=True, slots=True)
class ImageError:
    """PSNR of a finished image in dB."""

    case: Case
    psnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """What was compared and how close it is.

    Attributes:
        bundle_id: of the bundle.
        threshold: what the manifest asks for.
        engine: as it was asked for.
        did: what was run, in words.
        library: name and version of what ran it.
        precision: that it computes in.
        sampling: how images were drawn.
        images: each, at least one.
        calls: each network call that was compared.
        layers: by part of the denoiser; none of an engine that has no graph, or if not studied.
        islands: by part, of the denoiser's the largest alone: what it is without each, and nothing
            where it has none; no parts unless it is float16 and was studied.
        decoder: PSNR in dB of what the engine's own decoder makes of float32 latents.
        text: largest relative error of token states, if the engine has an encoder of its own.
        recorded: files of the engines in whose entries it is kept.
        unkept: why the manifest could not be written, if it could not.
    """

    bundle_id: str
    threshold: Parity
    engine: str
    did: str
    library: str
    precision: str
    sampling: SamplingDefaults
    images: Sequence[ImageError]
    calls: Sequence[CallError]
    layers: Mapping[str, Sequence[LayerError]]
    islands: Mapping[str, Sequence[IslandError]]
    decoder: Sequence[float]
    text: float | None
    recorded: Sequence[str] = ()
    unkept: str | None = None

    @property
    def worst(self) -> ImageError:
        """The image that differs most."""
        return min(self.images, key=lambda image: image.psnr_db)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the engine is not close enough; nothing if it is."""
        least, worst = self.threshold.image_psnr_db, self.worst
        found = []
        if worst.psnr_db < least:
            count = sum(image.psnr_db < least for image in self.images)
            found.append(
                f"image PSNR: got {worst.psnr_db:.1f} dB at {worst.case.named}, and less than "
                f"{least:g} dB in {count} of {len(self.images)} images; allowed: {least:g} dB or "
                f"more, as the manifest says"
            )
        if self.decoder and min(self.decoder) < least:
            found.append(
                f"decoder: got {min(self.decoder):.1f} dB; allowed: {least:g} dB or more, as the "
                f"manifest says of images"
            )
        most = self.threshold.text_error
        if self.text is not None and not self.text <= most:
            found.append(
                f"text encoder: relative error of states: got {self.text:.3g}; allowed: "
                f"{most:g} or less, as the manifest says"
            )
        far = [call for call in self.calls if math.isfinite(call.error)]
        if far and (call := max(far, key=lambda call: call.error)).error > self._most_call_error:
            found.append(
                f"network call at t = {call.t:.3f}: relative error for {call.worst.named}: got "
                f"{call.error:.3g}; allowed in {self.precision}: {self._most_call_error:g} or "
                f"less, as the manifest says"
            )
        if broken := [call for call in self.calls if not math.isfinite(call.error)]:
            found.append(
                f"network call at t = {broken[0].t:.3f}: what it predicts for "
                f"{broken[0].worst.named} is not finite; allowed: numbers"
            )
        return tuple(found)

    @property
    def _most_call_error(self) -> float:
        threshold = self.threshold
        return (
            threshold.call_error_fp16 if self.precision == "float16" else threshold.call_error_fp32
        )

    def recorded_in(self, files: Sequence[str]) -> "ParityReport":
        """The report, with where it is kept."""
        return dataclasses.replace(self, recorded=tuple(files))

    def not_kept(self, reason: str) -> "ParityReport":
        """The report, with why it is kept nowhere."""
        return dataclasses.replace(self, unkept=reason)

    def document(self) -> dict[str, Any]:
        """As JSON has it, everything."""
        return {
            "bundle_id": self.bundle_id,
            **self._common(),
            "failures": list(self.failures),
            **_summed(self.images),
            "images": [
                {**image.case.document(), "psnr_db": written(image.psnr_db)}
                for image in self.images
            ],
            "calls": [call.document() for call in self.calls],
            "layers": {
                part: [layer.document() for layer in layers] for part, layers in self.layers.items()
            },
            "islands": {
                part: [island.document() for island in islands]
                for part, islands in self.islands.items()
            },
            "decoder_psnr_db": written(min(self.decoder)) if self.decoder else None,
            "text_encoder_error": None if self.text is None else written(self.text),
            "recorded": list(self.recorded),
            "unkept": self.unkept,
        }

    def entry(self, part: str) -> dict[str, Any] | None:
        """What is kept in the manifest with the engine of a part; None if it was not measured."""
        islands = [island.document() for island in self.islands.get(part, ())]
        common = self._common() | {"islands": islands}
        if part == DECODER:
            worst = min(self.decoder, default=None)
            return None if worst is None else common | {"image_psnr_db": written(worst)}
        if part == TEXT_ENCODER:
            return None if self.text is None else common | {"error": written(self.text)}
        return common | self._of_denoiser(part)

    def _of_denoiser(self, part: str) -> dict[str, Any]:
        """Figures of the images that one of its parts draws."""
        sizes = list(dict.fromkeys(image.case.size for image in self.images))
        depth = part.removeprefix(f"{DENOISER}-")
        size = sizes[int(depth) - 1] if depth.isdigit() else sizes[-1]
        images = [image for image in self.images if image.case.size == size]
        call = max(
            (call for call in self.calls if call.worst.size == size), key=lambda call: call.error
        )
        layers = self.layers.get(part, ())
        worst = max(layers, key=lambda layer: layer.error, default=None)
        return {
            **_summed(images),
            "worst_call": call.document(),
            "worst_layer": None if worst is None else worst.document(),
        }

    def _common(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "did": self.did,
            "library": self.library,
            "precision": self.precision,
            "passed": not self.failures,
            "least_psnr_db": self.threshold.image_psnr_db,
            "why": self.threshold.why,
            "steps": self.sampling.steps,
            "sampler": self.sampling.sampler,
            "guidance": self.sampling.guidance,
        }


def _summed(images: Sequence[ImageError]) -> dict[str, Any]:
    worst = min(images, key=lambda image: image.psnr_db)
    return {
        "samples": len(images),
        "image_psnr_db": written(worst.psnr_db),
        "mean_psnr_db": written(fmean(image.psnr_db for image in images)),
        "worst": worst.case.document(),
    }
