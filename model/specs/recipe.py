"""All that `dimr-train` needs, as one file."""

from typing import Self

from pydantic import model_validator

from model.specs.agreement import check_agreement
from model.specs.base import ModelId, Spec
from model.specs.data import CaptionedEmojiData, CaptionedImagesData, DataSpec, LatentsData
from model.specs.layered import LayeredSpec
from model.specs.networks import NetworkSpec
from model.specs.process import LatentsSpec, PixelsSpec, ProcessSpec, SamplingDefaults
from model.specs.text import TextEncoderSpec
from model.specs.training import Loss, TrainingSpec


class Recipe(Spec):
    """All that `dimr-train` needs: network, process, run, and what to call the result.

    The pictures of a layered network may be larger than its highest scale, as those of the network
    that is to be stacked on it.
    """

    id: ModelId
    description: str
    licence: str
    data: DataSpec
    network: NetworkSpec
    process: ProcessSpec
    text: TextEncoderSpec | None = None
    training: TrainingSpec
    sampling: SamplingDefaults = SamplingDefaults()

    @model_validator(mode="after")
    def _data_and_network_meet(self) -> Self:
        network, codec = self.network, self.process.codec
        if isinstance(self.data, LatentsData) != isinstance(codec, LatentsSpec):
            msg = (
                f"data.kind: got {self.data.kind!r}; allowed with codec {codec.kind!r}: "
                f"{'latents' if isinstance(codec, LatentsSpec) else 'pictures'}"
            )
            raise ValueError(msg)
        match codec:
            case LatentsSpec():
                channels, size = codec.channels, network.size  # latents may be of any size
            case PixelsSpec():
                assert not isinstance(self.data, LatentsData)
                channels, size = 3 * codec.factor**2, self.data.size // codec.factor
                if isinstance(network, LayeredSpec) and size > network.size:
                    size = network.size  # larger images are reduced by the operator of the scales
        if (network.channels, network.size) != (channels, size):
            msg = (
                f"network: takes (channels, size, size) = "
                f"{(network.channels, network.size, network.size)}; "
                f"data and codec give {(channels, size, size)}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _prompts_have_what_they_need(self) -> Self:
        """A layered network reads texts, and nothing else does."""
        check_agreement(self.network, self.process)
        layered = isinstance(self.network, LayeredSpec)
        captioned = isinstance(self.data, CaptionedEmojiData | CaptionedImagesData)
        training = self.training
        found: tuple[tuple[str, bool], ...] = (
            ("data with captions", captioned),
            ("text", self.text is not None),
        )
        for name, present in found:
            if present != layered:
                needs = "needs" if layered else "has no use for"
                msg = f"network.kind: {self.network.kind!r} {needs} {name}"
                raise ValueError(msg)
        for name, value in (("scale_weights", training.scale_weights), ("crop", training.crop)):
            if value is not None and not layered:
                msg = f"training.{name}: has no effect; allowed: with a layered network"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _training_of_scales_has_effect(self) -> Self:
        if not isinstance(self.network, LayeredSpec):
            return self
        sides, crop, weights = self.network.sides, self.training.crop, self.training.scale_weights
        if weights is not None and len(weights) != len(sides):
            msg = (
                f"training.scale_weights: got {len(weights)} numbers; "
                f"allowed: one for each scale of {sides}"
            )
            raise ValueError(msg)
        if crop is not None and len(sides) == 1:
            msg = (
                f"training.crop: got a side of {crop.side} with the one scale {sides}; allowed: "
                f"with two scales or more, as the lowest sees whole images"
            )
            raise ValueError(msg)
        if crop is not None and crop.side > sides[0]:
            msg = (
                f"training.crop.side: got {crop.side}; "
                f"allowed: at most {sides[0]}, the side of the lowest scale"
            )
            raise ValueError(msg)
        held = slice(-1, None) if self.training.loss is Loss.LAST else slice(None)
        if weights is not None and not any(weights[held]):
            msg = (
                f"training.scale_weights: got {weights} with loss {self.training.loss.value!r}; "
                f"allowed: above 0 for a scale that is held to a target, or nothing is learnt"
            )
            raise ValueError(msg)
        return self
