"""Looking at a network while it trains: grids of samples, and measurements of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.autoencoder import Codec, PixelCodec, load_autoencoder
from model.data.order import generator_for
from model.files import write_whole
from model.sampling.painter import Painter
from model.sampling.pictures import encode_png, join_grid
from model.sampling.samplers import table_for
from model.specs.process import LatentsSpec, PixelsSpec, SamplingDefaults
from model.specs.recipe import Recipe
from model.training.distributed import World

BATCH = 32  # images of one network call
GRID_SIDE = 640  # least side of a written grid in pixels, about
_CLASSES = 5  # stream of randomness


@dataclass(frozen=True, slots=True)
class Previewer:
    """Draws images with a network, on all processes together."""

    network: nn.Module
    recipe: Recipe
    codec: Codec
    world: World

    def paint(self, labels: Sequence[int], sampling: SamplingDefaults) -> NDArray[np.uint8]:
        """An image of each class, image k by seed k; every process must call it.

        Returns:
            (N, H, W, 3) on the leading process; nothing of use elsewhere.
        """
        each = -(-len(labels) // self.world.size)
        padded = [*labels, *[0] * (each * self.world.size - len(labels))]
        part = self.world.part(len(padded))
        painter = Painter(self.network, self.recipe.network, self.recipe.process, self.codec)
        table = table_for(
            self.recipe.process,
            sampling,
            sampler=sampling.sampler,
            steps=sampling.steps,
            guidance=sampling.guidance,
        )
        of_process: list[list[NDArray[np.uint8]]] = [[] for _ in range(self.world.size)]
        for start in range(part.start, part.stop, BATCH):
            seeds = range(start, min(start + BATCH, part.stop))
            made = painter.paint(table, [padded[k] for k in seeds], seeds)
            for images, found in zip(of_process, self.world.collected(made), strict=False):
                images.append(found)
        parts = [image for images in of_process for image in images]
        return np.concatenate(parts)[: len(labels)] if parts else np.empty(0, np.uint8)


def codec_for(recipe: Recipe, autoencoder: str | None) -> Codec:
    """What turns samples into images.

    Raises:
        ValueError: the recipe is of latents and no autoencoder was named, or the other way round.
        AutoencoderRefused: it cannot be loaded or does not fit.
    """
    match recipe.process.codec:
        case PixelsSpec() as spec:
            if autoencoder is not None:
                msg = f"--autoencoder: got {autoencoder!r}; allowed with recipes of latents only"
                raise ValueError(msg)
            return PixelCodec(spec)
        case LatentsSpec() as spec:
            if autoencoder is None:
                msg = "--autoencoder: needed to see samples of latents; allowed: a folder or hub id"
                raise ValueError(msg)
            return load_autoencoder(autoencoder, spec)


def grid_labels(recipe: Recipe, classes: int) -> tuple[int, ...]:
    """Up to `classes` evenly chosen classes, the same at every step."""
    count = min(classes, recipe.network.classes)
    return tuple(k * recipe.network.classes // count for k in range(count))


def random_labels(recipe: Recipe, count: int) -> tuple[int, ...]:
    """Classes of `count` samples to measure, the same at every step."""
    generator = generator_for(recipe.training.seed, _CLASSES)
    chosen: list[int] = torch.randint(
        recipe.network.classes, (count,), generator=generator
    ).tolist()
    return tuple(chosen)


def write_grid(
    run: Path, step: int, images: NDArray[np.uint8], labels: Sequence[int], name: str
) -> NDArray[np.uint8]:
    """Write RUN/samples/step-N.png from images (N, S, S, 3); returns the sheet."""
    columns = max(1, round(len(images) ** 0.5))
    scale = max(1, GRID_SIDE // (columns * images.shape[1]))
    sheet = join_grid(list(images), columns=columns, scale=scale)
    folder = run / "samples"
    folder.mkdir(exist_ok=True)
    facts = {"step": step, "classes": list(labels), "first_seed": 0}
    content = encode_png(sheet, description=name, parameters=facts)
    write_whole(folder / f"step-{step:09d}.png", content)
    return sheet
