"""The training data of a recipe, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from model.autoencoder import PixelCodec
from model.data.emoji.captions import caption_emoji
from model.data.emoji.sheets import EmojiSet, load_emoji
from model.data.images.locations import open_images
from model.data.order import batch_indices, one_of_each
from model.data.source import Stream, to_unit
from model.latents.source import open_latents
from model.specs.data import (
    CaptionedEmojiData,
    CaptionedImagesData,
    EmojiData,
    ImagesData,
    LatentsData,
)
from model.specs.layered import LayeredSpec
from model.specs.process import PixelsSpec
from model.specs.recipe import Recipe
from model.training.distributed import World
from model.training.readers import CAPTIONS, ByIndex, Examples, InSequence


class Data(Protocol):
    """What a run learns from."""

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order; none where examples have captions."""

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why examples were left out so far, by where they are."""

    @property
    def count(self) -> int | None:
        """Number of examples; None in a stream."""

    @property
    def position(self) -> object:
        """Where this process is, as JSON; None where that follows from the step."""

    def examples(self, start: int, position: object) -> Examples:
        """Steps from `start` on: x0 (b, C, S, S) of this process's part and what they show."""


@dataclass(frozen=True, slots=True)
class LabelledTensors:
    """Examples in memory: x (N, C, S, S) float32, labels (N,) int64, and the classes' names."""

    x: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by class

    def __len__(self) -> int:
        return len(self.labels)

    def annotations(self, chosen: Tensor, recipe: Recipe, step: int, part: slice) -> Tensor:
        """Labels of the examples `chosen`."""
        return self.labels[chosen]


@dataclass(frozen=True, slots=True)
class CaptionedTensors:
    """Examples in memory: x (N, C, S, S) float32 and for each its captions."""

    x: Tensor
    captions: tuple[tuple[str, ...], ...]
    classes: ClassVar[tuple[str, ...]] = ()
    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.captions)

    def annotations(
        self, chosen: Tensor, recipe: Recipe, step: int, part: slice
    ) -> tuple[str, ...]:
        """A caption of each of the examples `chosen`, which are `part` of a step's batch."""
        spec = recipe.training
        captions = [self.captions[i] for i in chosen.tolist()]
        return one_of_each(captions, spec.batch, part, spec.seed, CAPTIONS, step)


@dataclass(frozen=True, slots=True)
class InMemory:
    """Small data: every step is cut from tensors."""

    tensors: LabelledTensors | CaptionedTensors
    recipe: Recipe
    world: World
    position: None = None

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.tensors)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Nothing: small data are read whole or not at all."""
        return {}

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order."""
        return self.tensors.classes

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""
        return self.tensors.aliases

    def examples(self, start: int, position: object) -> Examples:
        """Steps from `start` to the end of the recipe."""
        spec = self.recipe.training
        for step in range(start, spec.steps):
            part = self.world.part(spec.batch)
            mine = batch_indices(step, spec.batch, len(self.tensors), spec.seed)[part]
            yield self.tensors.x[mine], self.tensors.annotations(mine, self.recipe, step, part)


def open_data(
    recipe: Recipe, location: str, world: World, *, workers: int, class_index: Path | None = None
) -> Data:
    """Open the training data of a recipe.

    Args:
        recipe: says of what kind they are.
        location: where they are.
        world: the processes that share every batch.
        workers: background processes that read ahead, of each process.
        class_index: names of the classes of images, see `open_images`.

    Raises:
        DataError: they cannot be read.
        ValueError: they do not fit the network; names both numbers.
    """
    if class_index is not None and not isinstance(recipe.data, ImagesData):
        msg = f"--class-index: got {class_index} for {recipe.data.kind}; allowed: with images"
        raise ValueError(msg)
    data: Data
    match recipe.data:
        case EmojiData():
            data = InMemory(load_emoji_tensors(recipe, location), recipe, world)
        case CaptionedEmojiData():
            data = InMemory(load_captioned_emoji(recipe, location), recipe, world)
        case (ImagesData() | CaptionedImagesData()) as spec:
            opened = open_images(location, spec, class_index=class_index)
            data = (
                InSequence(opened, recipe, world, workers)
                if isinstance(opened, Stream)
                else ByIndex(opened, recipe, world, workers)
            )
        case LatentsData() as spec:
            latents = open_latents(location, spec)
            _check_shape(latents.shape, recipe)
            data = ByIndex(latents, recipe, world, workers)
    network = recipe.network
    if not isinstance(network, LayeredSpec) and len(data.classes) != network.classes:
        msg = f"network.classes: got {network.classes}; the data have {len(data.classes)}"
        raise ValueError(msg)
    return data


def _check_shape(moments: tuple[int, ...], recipe: Recipe) -> None:
    """Moments have two channels for each of the latent's."""
    network = recipe.network
    wanted = (2 * network.channels, network.size, network.size)
    if moments != wanted:
        msg = f"--data: its moments are {moments}; allowed: {wanted} for the recipe's network"
        raise ValueError(msg)


def load_emoji_tensors(recipe: Recipe, folder: str) -> LabelledTensors:
    """Read and encode the shipped set with its classes.

    Raises:
        DataError: a file is missing or altered, or a concept is unknown.
    """
    assert isinstance(recipe.data, EmojiData)
    emoji = load_emoji(Path(folder), concepts=recipe.data.concepts, size=recipe.data.size)
    aliases = {captions[0]: captions[1:] for captions in emoji.captions}
    labels = torch.from_numpy(emoji.labels)
    return LabelledTensors(_encoded(emoji, recipe), labels, emoji.classes, aliases)


def load_captioned_emoji(recipe: Recipe, folder: str) -> CaptionedTensors:
    """Read and encode the shipped set with its captions; errors as for `load_emoji_tensors`."""
    assert isinstance(recipe.data, CaptionedEmojiData)
    emoji = load_emoji(Path(folder), concepts=recipe.data.concepts, size=recipe.data.size)
    return CaptionedTensors(_encoded(emoji, recipe), caption_emoji(emoji))


def _encoded(emoji: EmojiSet, recipe: Recipe) -> Tensor:
    assert isinstance(recipe.process.codec, PixelsSpec)
    return PixelCodec(recipe.process.codec).encode(to_unit(emoji.images)).contiguous()
