"""Training a layered network: to the end, stopped and resumed, stacked, and from the command."""

import json

import pytest
import torch

from model.bundle import load_bundle
from model.specs.recipe import Recipe
from model.specs.training import ExecutionSpec
from model.training.distributed import World
from model.training.stacking import StackRefused, check_stackable, stack_on
from model.training.state import new_state

ALONE = World(0, 1, torch.device("cpu"))


def changed(recipe, network=None, **training):
    values = recipe.model_dump(mode="json")
    values["network"] |= network or {}
    values["training"] |= training
    return Recipe.model_validate(values)


def test_training_lowers_the_loss_of_every_scale(layered_trainer, layered_recipe, tmp_path):
    optimiser = layered_recipe.training.optimiser.model_dump() | {"rate": 3e-3}
    recipe = changed(layered_recipe, steps=150, batch=8, optimiser=optimiser)
    state = layered_trainer.start(recipe)
    assert layered_trainer.run(recipe, tmp_path, state)
    first, last = layered_trainer.reports[0], layered_trainer.reports[-1]
    assert len(first.branches) == 3
    assert all(after < before for before, after in zip(first.branches, last.branches, strict=True))


@pytest.mark.parametrize("crop", [None, {"side": 4, "share": 0.6}])
def test_a_stopped_run_continues_bit_for_bit_even_with_dropout(
    layered_trainer, layered_recipe, tmp_path, crop
):
    recipe = changed(layered_recipe, network={"dropout": 0.3}, crop=crop)
    whole = layered_trainer.start(recipe)
    layered_trainer.run(recipe, tmp_path / "whole", whole)
    broken = layered_trainer.start(recipe)
    layered_trainer.run(recipe, tmp_path / "broken", broken, stop_at=3)
    torch.rand(7)  # whatever else draws in between
    layered_trainer.run(recipe, tmp_path / "broken", broken)
    for name, parameter in whole.network.named_parameters():
        torch.testing.assert_close(broken.network.get_parameter(name), parameter, atol=0, rtol=0)


def test_recomputed_blocks_and_accumulated_parts_learn_the_same(
    layered_trainer, layered_recipe, tmp_path
):
    states = []
    ways: list[dict[str, bool | int]] = [{}, {"checkpoint_activations": True}, {"accumulate": 2}]
    for index, options in enumerate(ways):
        state = layered_trainer.start(layered_recipe, **options)
        layered_trainer.run(layered_recipe, tmp_path / str(index), state, **options)
        states.append(state)
    for name, parameter in states[0].network.named_parameters():
        for other in states[1:]:
            found = other.network.get_parameter(name)
            torch.testing.assert_close(found, parameter, atol=2e-4, rtol=1e-3)


@pytest.fixture
def low_recipe(layered_recipe):
    return changed(layered_recipe, network={"scales": [8], "outer": []})


@pytest.fixture
def files(tmp_path, layered_recipe, low_recipe):
    """Recipes as files."""
    for name, recipe in (("low", low_recipe), ("whole", layered_recipe)):
        (tmp_path / f"{name}.json").write_text(recipe.model_dump_json())
    return tmp_path


def test_higher_scales_are_stacked_on_a_trained_lower_one(call, files, layered_recipe):
    assert call(files / "low.json", files / "low") == 0
    below = load_bundle(files / "low" / "bundle")
    whole = changed(layered_recipe, steps=1)
    (files / "one.json").write_text(whole.model_dump_json())
    state = new_state(
        whole, ExecutionSpec(), ALONE, prepare=lambda network: stack_on(network, below)
    )
    for name, parameter in below.network.named_parameters():
        torch.testing.assert_close(state.network.get_parameter(name), parameter, atol=0, rtol=0)
        torch.testing.assert_close(state.average.get_parameter(name), parameter, atol=0, rtol=0)
    weights = state.network.state_dict()
    assert all((weights[f"outputs.{k}.conv.weight"] == 0).all() for k in (1, 2))

    assert call(files / "one.json", files / "run", "--stack-on", str(files / "low/bundle")) == 0
    manifest = json.loads((files / "run/bundle/manifest.json").read_text())
    assert manifest["provenance"]["stacked_on"]["id"] == "tiny-layered"
    assert manifest["provenance"]["stacked_on"]["images_seen"] == 24
    assert manifest["sizes"] == [8, 16, 32]
    assert manifest["conditioning"] == ["prompt"]


def test_only_the_lower_part_of_a_network_can_be_stacked_on(
    call, files, layered_recipe, low_recipe, capsys
):
    assert call(files / "low.json", files / "low") == 0
    below = load_bundle(files / "low" / "bundle")
    wide = layered_recipe.model_dump(mode="json")
    wide["network"]["core"][0]["width"] = 24
    with pytest.raises(StackRefused, match=r"network\.core: got .* allowed: .*width=24"):
        check_stackable(below, Recipe.model_validate(wide), files)
    with pytest.raises(StackRefused, match=r"has scales \(8,\); allowed: fewer"):
        check_stackable(below, low_recipe, files)
    assert call("emoji-32", files / "run", "--stack-on", str(files / "low/bundle")) == 2
    assert "of no layered network" in capsys.readouterr().err
    assert not (files / "run").exists()


def test_the_command_trains_on_the_shipped_captions_and_resumes(call, files, weights, capsys):
    assert call(files / "whole.json", files / "whole", "--samples-every", "3") == 0
    assert call(files / "whole.json", files / "part", "--steps", "3") == 0
    assert call(files / "whole.json", files / "part", "--resume") == 0
    for name, tensor in weights(files / "whole").items():
        torch.testing.assert_close(weights(files / "part")[name], tensor, atol=0, rtol=0)
    assert (files / "whole/samples/step-000000003.png").is_file()
    assert call(files / "whole.json", files / "x", "--sample-prompts", "no-such-file") == 2
    assert "no-such-file" in capsys.readouterr().err
