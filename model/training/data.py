"""The training data of a recipe, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model.autoencoder import PixelCodec
from model.data.emoji.sheets import load_emoji
from model.data.images.locations import open_images
from model.data.order import batch_indices
from model.data.source import Stream, to_unit
from model.latents.source import open_latents
from model.specs.data import EmojiData, ImagesData, LatentsData
from model.specs.process import PixelsSpec
from model.specs.recipe import Recipe
from model.training.distributed import World
from model.training.readers import ByIndex, Examples, InSequence


class Data(Protocol):
    """What a run learns from."""

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order."""

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
        """Steps from `start` on: x0 (b, C, S, S) and labels (b,) of this process's part."""


@dataclass(frozen=True, slots=True)
class LabelledTensors:
    """Examples in memory: x (N, C, S, S) float32, labels (N,) int64, and the classes' names."""

    x: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by class

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class InMemory:
    """Small data: every step is cut from tensors."""

    tensors: LabelledTensors
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
            chosen = batch_indices(step, spec.batch, len(self.tensors), spec.seed)
            mine = chosen[self.world.part(spec.batch)]
            yield self.tensors.x[mine], self.tensors.labels[mine]


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
        msg = f"--class-index: {recipe.data.kind} name their classes; allowed: for images"
        raise ValueError(msg)
    data: Data
    match recipe.data:
        case EmojiData():
            data = InMemory(load_emoji_tensors(recipe, location), recipe, world)
        case ImagesData() as spec:
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
    if len(data.classes) != recipe.network.classes:
        msg = f"network.classes: got {recipe.network.classes}; the data have {len(data.classes)}"
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
    """Read and encode the shipped set.

    Raises:
        DataError: a file is missing or altered, or a concept is unknown.
    """
    assert isinstance(recipe.data, EmojiData)
    assert isinstance(recipe.process.codec, PixelsSpec)
    emoji = load_emoji(Path(folder), concepts=recipe.data.concepts, size=recipe.data.size)
    x = PixelCodec(recipe.process.codec).encode(to_unit(emoji.images)).contiguous()
    aliases = {captions[0]: captions[1:] for captions in emoji.captions}
    return LabelledTensors(x, torch.from_numpy(emoji.labels), emoji.classes, aliases)
