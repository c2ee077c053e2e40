"""Every recipe that comes with the project, and the paper's variants among them."""

import json
from pathlib import Path

import pytest
import torch

from model.denoisers.counting import meta_network
from model.denoisers.family import VARIANTS
from model.denoisers.official import official_name
from model.sampling.samplers import tables_for
from model.specs.data import ImagesData, LatentsData
from model.specs.files import read_recipe, recipe_names
from model.specs.networks import DiMRSpec
from model.specs.process import DiscreteScheduleSpec, LatentsSpec, PixelsSpec, Prediction
from model.specs.training import Loss, OptimiserSpec, Times

MANIFESTS = Path(__file__).parents[1] / "fixtures" / "official" / "manifests"
LATENT = [name for name in VARIANTS if not name.endswith("-64")]


def defaults_table(recipe):
    sampling = recipe.sampling
    *_, table = tables_for(
        recipe.process,
        recipe.network.sides,
        sampling,
    )
    return table


@pytest.fixture(scope="module")
def layout():
    """Names and shapes of a variant in the authors' layout."""

    def expand(name):
        manifest = json.loads((MANIFESTS / f"{name}.json").read_text("utf-8"))
        shapes = {
            pattern.replace("*", str(copy)): tuple(shape)
            for pattern, (copies, shape) in manifest["layout"].items()
            for copy in range(copies)
        }
        assert len(shapes) == manifest["tensors"]
        return shapes

    return expand


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_called_as_its_file(name):
    assert read_recipe(name).id == name


@pytest.mark.parametrize("name", recipe_names())
def test_the_network_of_a_recipe_takes_what_its_codec_makes(name):
    recipe = read_recipe(name)
    network, codec = recipe.network, recipe.process.codec
    match codec:
        case PixelsSpec():
            assert not isinstance(recipe.data, LatentsData)
            assert network.channels == 3 * codec.factor**2
            assert network.size * codec.factor <= recipe.data.size
        case LatentsSpec():
            assert network.channels == codec.channels
            assert isinstance(recipe.data, LatentsData)


@pytest.mark.parametrize("name", recipe_names())
def test_the_sampling_defaults_of_a_recipe_make_a_table(name):
    recipe = read_recipe(name)
    table = defaults_table(recipe)
    assert len(table) == recipe.sampling.steps
    assert table.t[0] == recipe.process.t_max
    assert torch.all(table.guidance == recipe.sampling.guidance)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_every_tensor_of_the_authors_and_no_other(name, layout):
    network = meta_network(read_recipe(name).network)
    found = {official_name(ours): tuple(p.shape) for ours, p in network.state_dict().items()}
    assert found == layout(name)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_trained_as_the_authors_do(name):
    recipe = read_recipe(name)
    training = recipe.training
    assert training.optimiser == OptimiserSpec(
        rate=2e-4, betas=(0.99, 0.99), weight_decay=0.03, warmup_steps=5000, ema=0.9999
    )
    assert (training.steps, training.batch, training.condition_dropout) == (1_000_000, 1024, 0.1)
    assert (training.loss, training.times) == (Loss.MULTI_SCALE, Times.DISCRETE)
    assert recipe.process.schedule == DiscreteScheduleSpec()
    assert recipe.process.prediction is Prediction.NOISE
    assert (recipe.process.t_min, recipe.process.t_max) == (0.001, 1)
    assert isinstance(recipe.data, ImagesData | LatentsData)
    assert recipe.data.flip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_knows_the_thousand_classes_and_sees_its_own_grids(name):
    network = read_recipe(name).network
    assert isinstance(network, DiMRSpec)
    assert network.classes == 1000
    assert network.grids == (16, 32, 64)[: len(network.stages)]


@pytest.mark.parametrize("name", LATENT)
def test_latent_variants_are_sampled_in_83_steps_of_third_order_and_one_of_first(name):
    table = defaults_table(read_recipe(name))
    ends = table.update_anchor.nonzero().flatten()
    assert ends.diff(prepend=torch.tensor([-1])).tolist() == [3] * 83 + [1]
    torch.testing.assert_close(table.guidance, torch.full_like(table.t, 1.4))


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in LATENT])
def test_pixel_variants_are_sampled_in_50_calls_without_guidance(name):
    table = defaults_table(read_recipe(name))
    ends = table.update_anchor.nonzero().flatten()
    assert ends.diff(prepend=torch.tensor([-1])).tolist() == [3] * 16 + [2]
    assert table.rows_per_call.sum() == 50
