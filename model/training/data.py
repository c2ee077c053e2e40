"""Training examples as tensors in memory, and an order of them that any step can recompute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.autoencoder import PixelCodec
from model.data.sheets import load_emoji
from model.specs.recipe import Recipe


@dataclass(frozen=True, slots=True)
class LabelledTensors:
    """Encoded images x (N, C, S, S) float32, labels (N,) int64, and the names of the classes."""

    x: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by class

    def __len__(self) -> int:
        return len(self.labels)


def to_unit(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def load_examples(recipe: Recipe, folder: Path) -> LabelledTensors:
    """Read and encode the data of a recipe.

    Raises:
        ValueError: the network of the recipe does not fit its data; names both numbers.
    """
    emoji = load_emoji(folder, concepts=recipe.data.concepts, size=recipe.data.size)
    x = PixelCodec(recipe.process.codec).encode(to_unit(emoji.images)).contiguous()
    network = recipe.network
    if x.shape[1:] != (network.channels, network.size, network.size):
        msg = (
            f"network: takes (channels, size, size) = {(network.channels, *(network.size,) * 2)}; "
            f"the data give {tuple(x.shape[1:])}"
        )
        raise ValueError(msg)
    if len(emoji.classes) != network.classes:
        msg = f"network.classes: got {network.classes}; the data have {len(emoji.classes)}"
        raise ValueError(msg)
    aliases = {captions[0]: captions[1:] for captions in emoji.captions}
    return LabelledTensors(x, torch.from_numpy(emoji.labels), emoji.classes, aliases)


def generator_for(*key: int) -> torch.Generator:
    """A generator that depends on the key alone, e.g. (seed, stream, step)."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


def batch_indices(step: int, batch: int, count: int, seed: int) -> Tensor:
    """Which examples make up a step: (batch,) int64; every epoch is a fresh permutation."""
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs = positions // count
    orders = {
        int(e): torch.randperm(count, generator=generator_for(seed, 0, int(e)))
        for e in np.unique(epochs)
    }
    return torch.stack(
        [orders[int(e)][int(p % count)] for e, p in zip(epochs, positions, strict=True)]
    )
