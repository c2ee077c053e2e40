"""Where training examples come from, and what is done to each before the network sees it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from model.specs.base import Spec


class OnBad(StrEnum):
    """What an example that cannot be read or has a wrong label does to a run."""

    STOP = "stop"  # the run ends with an error that names it
    SKIP = "skip"  # it is left out, counted and named in the log


class EmojiData(Spec):
    """Concepts of the shipped emoji set, one class each."""

    kind: Literal["emoji"] = "emoji"
    concepts: tuple[str, ...] = Field(min_length=1, description="one class each, in index order")
    size: PositiveInt = Field(description="side of the images in pixels")


class CaptionedEmojiData(Spec):
    """The same pictures, each with a caption drawn anew from its names at every visit."""

    kind: Literal["captioned-emoji"] = "captioned-emoji"
    concepts: tuple[str, ...] = Field(min_length=1, description="what the pictures show")
    size: PositiveInt = Field(description="side of the images in pixels")


class ImagesData(Spec):
    """Labelled images of any size: a class folder tree, WebDataset shards or a Hub data set.

    Each is cropped as ADM does (arXiv:2105.05233): box reductions by 2, bicubic to the short side,
    then the centre.
    """

    kind: Literal["images"] = "images"
    size: PositiveInt = Field(description="side after the crop, in pixels")
    flip: bool = Field(default=False, description="mirror each with probability 1/2")
    on_bad: OnBad = OnBad.STOP


class CaptionedImagesData(Spec):
    """Captioned images of any size: a folder with texts, WebDataset shards or a Hub data set.

    Cropped as `ImagesData`; of several captions one is drawn at each visit.
    """

    kind: Literal["captioned-images"] = "captioned-images"
    size: PositiveInt = Field(description="side after the crop, in pixels")
    flip: bool = Field(
        default=False,
        description="mirror each with probability 1/2; harmful where captions say left or right "
        "or pictures hold writing",
    )
    on_bad: OnBad = OnBad.STOP


class LatentsData(Spec):
    """Moments of an autoencoder, computed once; a latent is drawn from them at each visit."""

    kind: Literal["latents"] = "latents"
    flip: bool = Field(default=True, description="use the moments of mirrored images as well")
    on_bad: OnBad = OnBad.STOP


CaptionedData = CaptionedEmojiData | CaptionedImagesData

DataSpec = Annotated[
    EmojiData | ImagesData | LatentsData | CaptionedData, Field(discriminator="kind")
]
