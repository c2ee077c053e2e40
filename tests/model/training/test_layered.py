"""Training a layered network: to the end, stopped and resumed, stacked, and from the command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.bundle import load_bundle, write_bundle
from model.specs.files import read_recipe
from model.specs.process import PixelsSpec
from model.specs.recipe import Recipe
from model.specs.training import ExecutionSpec
from model.training.distributed import World
from model.training.stacking import StackRefused, check_stackable, stack_on
from model.training.state import new_state

ALONE = World(0, 1, torch.device("cpu"))
OUTER = {"width": 8, "blocks": 1}


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


@pytest.fixture
def below(low_recipe, prompts, tmp_path):
    """A bundle of the lowest scale, with other fields of its process or another text encoder."""

    def make(recipe=low_recipe, sha256=None, **process):
        values = recipe.model_dump(mode="json")
        values["process"] |= process
        recipe = Recipe.model_validate(values)
        state = new_state(recipe, ExecutionSpec(), ALONE)
        folder = write_bundle(
            tmp_path / "below", recipe, state.average, (), steps=1, prompts=prompts
        )
        bundle = load_bundle(folder)
        if sha256 is None:
            return bundle
        text = prompts.identity.model_copy(update={"sha256": sha256})
        return replace(bundle, manifest=bundle.manifest.model_copy(update={"text": text}))

    return make


def test_only_the_lower_part_of_a_network_can_be_stacked_on(
    call, files, layered_recipe, low_recipe, below, prompts, capsys
):
    wide = layered_recipe.model_dump(mode="json")
    wide["network"]["core"][0]["width"] = 24
    with pytest.raises(StackRefused, match=r"network\.core: got .* allowed: .*width=24"):
        check_stackable(below(), Recipe.model_validate(wide), prompts.identity, files)
    with pytest.raises(StackRefused, match=r"has scales \(8,\); allowed: fewer"):
        check_stackable(below(), low_recipe, prompts.identity, files)
    assert call("emoji-32", files / "run", "--stack-on", str(files / "below")) == 2
    assert "of no layered network" in capsys.readouterr().err
    assert not (files / "run").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"scales": {"reference": 16}},
            "process.scales.reference: got 16; allowed: 32, as in the lower scales of the recipe",
        ),
        (
            {"schedule": {"kind": "cosine", "shift": 1.5}},
            "process.schedule: got kind='cosine' shift=1.5; allowed: kind='cosine' shift=0.0, as",
        ),
        (
            {"scales": {"reference": 32, "delays": [0.5]}},
            "process.scales.delays: got (0.5,); allowed: (0.0,), as",
        ),
        ({"prediction": "noise"}, "process.prediction: got noise; allowed: velocity, as"),
        ({"sha256": "0" * 64}, f"text.sha256: got {'0' * 64}; allowed: f98e6977ba0b"),
    ],
    ids=["reference", "schedule", "delays", "prediction", "text"],
)
def test_a_network_that_was_told_other_things_cannot_be_stacked_on(
    below, layered_recipe, prompts, change, complaint
):
    other = below(**change)
    with pytest.raises(StackRefused) as refused:
        check_stackable(other, layered_recipe, prompts.identity, Path("other"))
    assert str(refused.value).startswith("--stack-on: other: ")
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("process", "complaint"),
    [
        ({"codec": PixelsSpec(factor=2)}, "process.codec: got kind='pixels' factor=2; allowed: "),
        ({"scales": None}, "process.scales.reference: got None; allowed: 32, as"),
    ],
    ids=["codec", "no scales"],
)
def test_a_bundle_that_no_recipe_could_make_cannot_be_stacked_on(
    below, layered_recipe, prompts, process, complaint
):
    bundle = below()
    changed = bundle.manifest.process.model_copy(update=process)
    manifest = bundle.manifest.model_copy(update={"process": changed})
    with pytest.raises(StackRefused) as refused:
        check_stackable(
            replace(bundle, manifest=manifest), layered_recipe, prompts.identity, Path("other")
        )
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"t_min": 0.1, "t_max": 0.9},
        {"scales": {"reference": 32, "shared": 0.5}},
        {"scales": {"reference": 32, "delays": [0.0]}},
    ],
    ids=["the same", "other times", "noise shared otherwise", "delays of nothing"],
)
def test_a_network_that_was_told_the_same_can_be_stacked_on(below, layered_recipe, prompts, change):
    check_stackable(below(**change), layered_recipe, prompts.identity, Path("below"))


def test_the_delays_of_the_lower_scales_alone_must_agree(below, layered_recipe, prompts):
    apart = {"reference": 32, "shared": 0.5}
    values = layered_recipe.model_dump(mode="json")
    values["process"]["scales"] = apart | {"delays": [0.5, 0.25, 0.0]}
    whole = Recipe.model_validate(values)
    two = changed(layered_recipe, network={"scales": [8, 16], "outer": [OUTER]})
    check_stackable(
        below(two, scales=apart | {"delays": [0.5, 0.25]}), whole, prompts.identity, Path("below")
    )
    with pytest.raises(StackRefused, match=r"delays: got \(0\.5, 0\.0\); allowed: \(0\.5, 0\.25\)"):
        check_stackable(
            below(two, scales=apart | {"delays": [0.5, 0.0]}),
            whole,
            prompts.identity,
            Path("below"),
        )


def test_the_shipped_recipes_stack(prompts, tmp_path):
    low, whole = read_recipe("emoji-layered-16"), read_recipe("emoji-layered-64")
    state = new_state(low, ExecutionSpec(), ALONE)
    folder = write_bundle(tmp_path / "low", low, state.average, (), steps=1, prompts=prompts)
    check_stackable(load_bundle(folder), whole, prompts.identity, folder)


def test_the_command_refuses_what_means_other_things_and_writes_nothing(call, files, below, capsys):
    below(scales={"reference": 16})
    assert call(files / "whole.json", files / "run", "--stack-on", str(files / "below")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimr-train: --stack-on: ")
    assert "process.scales.reference: got 16; allowed: 32" in line
    assert not (files / "run").exists()


def test_the_command_trains_on_the_shipped_captions_and_resumes(call, files, weights, capsys):
    seen = ("--samples-every", "3", "--sample-classes", "2")
    assert call(files / "whole.json", files / "whole", *seen) == 0
    assert call(files / "whole.json", files / "part", "--steps", "3") == 0
    assert call(files / "whole.json", files / "part", "--resume") == 0
    for name, tensor in weights(files / "whole").items():
        torch.testing.assert_close(weights(files / "part")[name], tensor, atol=0, rtol=0)
    assert (files / "whole/samples/step-000000003.png").is_file()
    assert call(files / "whole.json", files / "x", "--sample-prompts", "no-such-file") == 2
    assert "no-such-file" in capsys.readouterr().err


def test_a_run_is_continued_by_the_text_encoder_that_it_was_started_with(
    call, files, capsys, prompts
):
    run = files / "run"
    assert call(files / "whole.json", run, "--steps", "2") == 0
    record = run / "text-encoder.json"
    assert json.loads(record.read_text()) == prompts.identity.model_dump(mode="json")
    whole = record.read_text()
    record.write_text(whole.replace(prompts.identity.sha256, "0" * 64))
    capsys.readouterr()
    assert call(files / "whole.json", run, "--resume") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimr-train: --resume: the text encoder: got sha256 f98e6977ba0b...; ")
    assert "allowed: 000000000000..." in line
    assert "0" * 64 in record.read_text()

    record.unlink()  # as of a version that wrote none
    assert call(files / "whole.json", run, "--resume", "--steps", "3") == 0
    assert f"{run} has no text-encoder.json: whether" in capsys.readouterr().err
    assert not record.exists()  # what it was started with is not known any better now
    record.write_text(whole)
    assert call(files / "whole.json", run, "--resume") == 0
    assert "text-encoder" not in capsys.readouterr().err
