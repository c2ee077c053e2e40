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
from model.evaluation.prompts import concept_prompts
from model.files import write_whole
from model.sampling.conditions import Conditions, Wanted
from model.sampling.painter import Painter
from model.sampling.pictures import encode_png, join_grid
from model.sampling.samplers import tables_for
from model.specs.data import CaptionedEmojiData, CaptionedImagesData
from model.specs.layered import LayeredSpec
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
    conditions: Conditions
    world: World

    def paint(self, wanted: Sequence[Wanted], sampling: SamplingDefaults) -> NDArray[np.uint8]:
        """An image of each class or prompt, image k by seed k; every process must call it.

        Returns:
            (N, H, W, 3) on the leading process; nothing of use elsewhere.
        """
        recipe, each = self.recipe, -(-len(wanted) // self.world.size)
        padded = [*wanted, *[wanted[0]] * (each * self.world.size - len(wanted))]
        part = self.world.part(len(padded))
        painter = Painter(self.network, recipe.network, recipe.process, self.codec, self.conditions)
        tables = tables_for(
            recipe.process,
            recipe.network.sides,
            sampling,
        )
        of_process: list[list[NDArray[np.uint8]]] = [[] for _ in range(self.world.size)]
        for start in range(part.start, part.stop, BATCH):
            seeds = range(start, min(start + BATCH, part.stop))
            made = painter.paint(tables, [padded[k] for k in seeds], seeds)
            for images, found in zip(of_process, self.world.collected(made), strict=False):
                images.append(found)
        parts = [image for images in of_process for image in images]
        return np.concatenate(parts)[: len(wanted)] if parts else np.empty(0, np.uint8)


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


def to_draw(recipe: Recipe, prompts: Sequence[str] | None) -> tuple[Wanted, ...]:
    """All that samples of this recipe can be asked to show, in a fixed order.

    Args:
        recipe: what is trained.
        prompts: for images with captions, which do not tell what to ask for.

    Raises:
        ValueError: prompts are missing or have no effect.
    """
    captioned = isinstance(recipe.data, CaptionedImagesData)
    if captioned != (prompts is not None):
        needed = "needed to see samples" if captioned else "has no effect"
        msg = f"--sample-prompts: {needed}; allowed: with data of kind 'captioned-images'"
        raise ValueError(msg)
    if prompts is not None:
        return tuple(prompts)
    if isinstance(recipe.data, CaptionedEmojiData):
        return concept_prompts(recipe.data)
    assert not isinstance(recipe.network, LayeredSpec)
    return tuple(range(recipe.network.classes))


def even_indices(drawable: int, most: int) -> tuple[int, ...]:
    """Up to `most` of `drawable` things, evenly chosen, the same at every step."""
    count = min(most, drawable)
    return tuple(k * drawable // count for k in range(count))


def random_indices(recipe: Recipe, drawable: int, count: int) -> tuple[int, ...]:
    """Which of `drawable` things `count` samples to measure show, the same at every step."""
    generator = generator_for(recipe.training.seed, _CLASSES)
    chosen: list[int] = torch.randint(drawable, (count,), generator=generator).tolist()
    return tuple(chosen)


def write_grid(
    run: Path, step: int, images: NDArray[np.uint8], shown: Sequence[Wanted], name: str
) -> NDArray[np.uint8]:
    """Write RUN/samples/step-N.png from images (N, S, S, 3); returns the sheet."""
    columns = max(1, round(len(images) ** 0.5))
    scale = max(1, GRID_SIDE // (columns * images.shape[1]))
    sheet = join_grid(list(images), columns=columns, scale=scale)
    folder = run / "samples"
    folder.mkdir(exist_ok=True)
    facts = {"step": step, "shows": list(shown), "first_seed": 0}
    content = encode_png(sheet, description=name, parameters=facts)
    write_whole(folder / f"step-{step:09d}.png", content)
    return sheet
