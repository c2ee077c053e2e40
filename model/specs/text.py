"""The text encoder of a prompt model: part of its identity, as another one means other states."""

from typing import Annotated, Literal

from pydantic import Field

from model.specs.base import Spec


class MiniLMSpec(Spec):
    """The small encoder that works offline: MiniLM-L6 in int8, from a pinned Python package."""

    kind: Literal["minilm"] = "minilm"


class TransformersSpec(Spec):
    """The text side of a pretrained model, read by the transformers library: T5, FLAN-T5, CLIP."""

    kind: Literal["transformers"] = "transformers"
    source: str = Field(
        min_length=1,
        description="a folder, or a repository of the Hugging Face Hub such as google/flan-t5-xl",
    )


TextEncoderSpec = Annotated[MiniLMSpec | TransformersSpec, Field(discriminator="kind")]


class TextEncoderIdentity(Spec):
    """Which encoder a network was trained with; recorded in its bundle."""

    encoder: TextEncoderSpec
    sha256: str = Field(description="over the encoder's weights, configuration and vocabulary")
    width: int = Field(description="of a token's state")
