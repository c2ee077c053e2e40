"""The layered U-Net as data: one network that denoises several scales of an image together.

Layered diffusion (arXiv:2407.06079). The paper's text leaves widths, blocks and attention open; the
defaults of `Level` and the named recipes follow simple diffusion (arXiv:2301.11093) and Matryoshka
diffusion (arXiv:2310.15111).
"""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from model.specs.base import Spec


class Level(Spec):
    """One resolution of the U-Net."""

    width: PositiveInt = Field(description="channels; a multiple of 8, for group norms")
    blocks: PositiveInt = Field(description="residual blocks on the way up, and down in the core")
    attention: bool = Field(
        default=False, description="self-attention and cross-attention to the text after each block"
    )

    @model_validator(mode="after")
    def _width_divides(self) -> Self:
        if self.width % 8:
            msg = f"width: got {self.width}; allowed: a multiple of 8"
            raise ValueError(msg)
        return self


class TextInput(Spec):
    """The token states that the network reads, as its text encoder makes them."""

    width: PositiveInt = Field(description="width of a token's state")
    tokens: PositiveInt = Field(description="most tokens of a prompt; longer ones are cut off")


class LayeredSpec(Spec):
    """A layered U-Net: an image input and output at every scale, low to high resolution.

    The core is an ordinary U-Net on the lowest scale; each of its levels halves the grid. Every
    higher scale adds one level that has no way down (isolated downsampling): its own image enters
    by a convolution and is joined, on the way up, to what comes from below. With one scale this is
    the single-resolution baseline.
    """

    kind: Literal["layered"] = "layered"
    scales: tuple[PositiveInt, ...] = Field(
        default=(128, 256, 512), min_length=1, description="sides in pixels, low to high"
    )
    core: tuple[Level, ...] = Field(
        min_length=1, description="levels of the lowest scale, from its own grid downwards"
    )
    middle: int = Field(ge=0, description="Transformer blocks at the lowest grid of the core")
    outer: tuple[Level, ...] = Field(
        default=(), description="one level a higher scale, low to high"
    )
    head_width: PositiveInt = Field(default=64, description="channels of an attention head")
    embedding: PositiveInt = Field(description="width of the time-and-text embedding")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in the lowest level of the core")
    text: TextInput

    @property
    def channels(self) -> int:
        """Of every image."""
        return 3

    @property
    def size(self) -> int:
        """Side of the highest scale."""
        return self.scales[-1]

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the tensors that are denoised, low to high."""
        return self.scales

    @model_validator(mode="after")
    def _scales_rise(self) -> Self:
        for low, high in pairwise(self.scales):
            if high <= low or high % low:
                msg = (
                    f"scales: {high} does not follow {low}; allowed: a larger multiple of it, as "
                    f"scales go from low to high and features are repeated on the way up"
                )
                raise ValueError(msg)
        if len(self.outer) != len(self.scales) - 1:
            msg = (
                f"outer: got {len(self.outer)} levels for scales {self.scales}; "
                f"allowed: {len(self.scales) - 1}, one a scale above the lowest"
            )
            raise ValueError(msg)
        halvings = 2 ** (len(self.core) - 1)
        if self.scales[0] % halvings or self.scales[0] < 2 * halvings:
            msg = (
                f"core: got {len(self.core)} levels, which halve a side of {self.scales[0]} "
                f"{len(self.core) - 1} times; allowed: as many as leave a whole grid of at least 2"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        attending = [level for level in self.core if level.attention]
        if self.middle:
            attending.append(self.core[-1])
        for level in attending:
            if level.width % self.head_width:
                msg = (
                    f"head_width: got {self.head_width}; allowed: a divisor of the width "
                    f"{level.width} of every level with attention"
                )
                raise ValueError(msg)
        for index, level in enumerate(self.outer):
            if level.attention:
                msg = (
                    f"outer[{index}].attention: got true; allowed: false, scales above the lowest "
                    f"are convolutional"
                )
                raise ValueError(msg)
        return self
