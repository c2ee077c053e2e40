"""Images of a network in training."""

import io
import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from model.autoencoder import PixelCodec
from model.denoisers.build import build_denoiser
from model.sampling.conditions import conditions_for
from model.specs.recipe import Recipe
from model.training.distributed import World
from model.training.previews import (
    Previewer,
    codec_for,
    even_indices,
    random_indices,
    to_draw,
    write_grid,
)

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def painted(varied):
    """Paints with a random network of the tiny recipe."""
    recipe = varied()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_denoiser(recipe.network)
        for parameter in network.parameters():  # fresh heads are zero, and their images all alike
            torch.nn.init.normal_(parameter.data, std=0.2)
    conditions = conditions_for(recipe.network, None)
    previewer = Previewer(network, recipe, PixelCodec(recipe.process.codec), conditions, ALONE)
    return partial(previewer.paint, sampling=recipe.sampling)


def test_every_image_is_of_a_seed_of_its_own(painted):
    images = painted([0] * 7)
    assert images.shape == (7, 16, 16, 3)
    assert len(np.unique(images.reshape(7, -1), axis=0)) == 7


def test_more_images_than_a_call_takes_are_painted_in_several(painted):
    labels = [k % 3 for k in range(40)]
    images = painted(labels)
    assert len(images) == 40
    assert np.abs(images[:5].astype(int) - painted(labels[:5])).max() <= 1


def test_a_grid_shows_classes_from_all_over_and_always_the_same(varied):
    assert even_indices(3, 16) == (0, 1, 2)
    assert even_indices(1000, 4) == (0, 250, 500, 750)
    recipe = varied()
    assert random_indices(recipe, 1000, 50) == random_indices(recipe, 1000, 50)
    assert len(set(random_indices(recipe, 1000, 50))) > 40
    assert all(0 <= index < 1000 for index in random_indices(recipe, 1000, 50))


def test_samples_show_all_classes_all_concepts_or_the_prompts_that_are_given(
    varied, layered_recipe
):
    assert to_draw(varied(), None) == (0, 1, 2)
    assert to_draw(layered_recipe, None) == ("star", "red apple")
    captioned = layered_recipe.model_dump() | {"data": {"kind": "captioned-images", "size": 32}}
    assert to_draw(Recipe.model_validate(captioned), ["a", "b"]) == ("a", "b")
    with pytest.raises(ValueError, match=r"^--sample-prompts: needed"):
        to_draw(Recipe.model_validate(captioned), None)
    with pytest.raises(ValueError, match=r"^--sample-prompts: has no effect"):
        to_draw(varied(), ["a"])


def test_a_grid_is_a_picture_that_says_what_it_shows(tmp_path):
    images = np.zeros((5, 16, 16, 3), np.uint8)
    sheet = write_grid(tmp_path, 150, images, (0, 1, 2, 3, 4), "tiny")
    (path,) = (tmp_path / "samples").iterdir()
    assert path.name == "step-000000150.png"
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert np.array_equal(np.asarray(picture), sheet)
        facts = json.loads(picture.info["parameters"])
    assert facts == {"step": 150, "shows": [0, 1, 2, 3, 4], "first_seed": 0}


def test_an_autoencoder_is_asked_for_by_latents_and_by_nothing_else(varied):
    latents = varied(
        data={"kind": "latents"}, network={"channels": 4}, process={"codec": {"kind": "latents"}}
    )
    with pytest.raises(ValueError, match=r"^--autoencoder: needed to see samples"):
        codec_for(latents, None)
    with pytest.raises(ValueError, match=r"^--autoencoder: got 'x'; allowed with"):
        codec_for(varied(), "x")
