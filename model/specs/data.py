"""Where training examples come from."""

from typing import Literal

from pydantic import Field, PositiveInt

from model.specs.base import Spec


class EmojiData(Spec):
    """Concepts of the shipped emoji set, one class each."""

    kind: Literal["emoji"] = "emoji"
    concepts: tuple[str, ...] = Field(min_length=1, description="one class each, in index order")
    size: PositiveInt = Field(description="side of the images in pixels")
