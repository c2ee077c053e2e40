"""Agreement with the authors' implementation, through their own checkpoint layout."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.denoisers.dimr import DiMR
from model.denoisers.official import LayoutMismatch, from_state_dict, official_name
from model.diffusion.loss import multiscale_loss
from model.specs.networks import DiMRSpec, Norm

FIXTURE = Path(__file__).parents[2] / "fixtures" / "official" / "dimr_two_branches.npz"


@pytest.fixture(scope="module")
def recorded():
    with np.load(FIXTURE) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="module")
def state_dict(recorded):
    prefix = "state_dict/"
    return {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def model(state_dict):
    return from_state_dict(state_dict, num_heads=4)


@pytest.mark.parametrize("run", range(7))
def test_every_branch_agrees_with_the_authors_outputs(model, recorded, run):
    inputs = (recorded[f"run{run}/{name}"] for name in "xty")
    with torch.no_grad():
        low, high = model(*inputs)
    torch.testing.assert_close(low, recorded[f"run{run}/out0"], atol=2e-5, rtol=0)
    torch.testing.assert_close(high, recorded[f"run{run}/out1"], atol=2e-5, rtol=0)


def test_the_training_loss_agrees_with_the_authors(model, recorded):
    t = recorded["train/n"].double() / 1000
    with torch.no_grad():
        predictions = model(recorded["train/xn"], t, recorded["train/y"])
        loss = multiscale_loss(predictions, recorded["train/eps"])
    torch.testing.assert_close(loss, recorded["train/loss"], atol=1e-5, rtol=1e-5)


def test_sizes_are_read_off_the_shapes(model):
    spec = model.spec
    assert (spec.size, spec.channels, spec.classes, spec.norm) == (16, 4, 10, Norm.TD_RMSNORM)
    assert [(s.kind, s.dim, s.blocks, s.hidden, s.patch) for s in spec.stages] == [
        ("transformer", 32, 3, 64, 2),
        ("convnext", 16, 3, 32, 1),
    ]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda sd: {"model": sd},
        lambda sd: {f"module.{k}": v for k, v in sd.items()},
        lambda sd: {"state_dict": {f"module.{k}": v for k, v in sd.items()}, "step": 7},
    ],
)
def test_wrappers_and_prefixes_are_looked_through(state_dict, model, wrap):
    loaded = from_state_dict(wrap(state_dict), num_heads=4)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=0, rtol=0)


def three_branches(norm, pool=1):
    return DiMRSpec.model_validate(
        {
            "size": 16,
            "channels": 3,
            "classes": 7,
            "norm": norm,
            "stages": [
                {"kind": "transformer", "dim": 24, "blocks": 5, "hidden": 40, "heads": 3}
                | {"patch": 4 // pool, "pool": pool},
                {
                    "kind": "transformer",
                    "dim": 12,
                    "blocks": 1,
                    "hidden": 24,
                    "heads": 3,
                    "patch": 2,
                },
                {"kind": "convnext", "dim": 10, "blocks": 3, "hidden": 20, "kernel": 5},
            ],
        }
    )


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("pool", [1, 2])
def test_any_network_survives_the_trip_through_the_layout(norm, pool):
    spec = three_branches(norm, pool)
    original = DiMR(spec)
    theirs = {official_name(k): v for k, v in original.state_dict().items()}
    assert len(theirs) == len(original.state_dict())
    loaded = from_state_dict(theirs, num_heads=3)
    assert loaded.spec == spec
    for name, value in original.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            lambda sd: sd.pop("stages.1.blocks.1.block2.w1.bias"),
            "missing stages.1.blocks.1.block2.w1",
        ),
        (lambda sd: sd.pop("stages.0.class_embeds.weight"), "stages.0"),
        (lambda sd: sd.update(extra=torch.zeros(1)), "unexpected extra"),
        (
            lambda sd: sd.update({"stages.0.skip_denses.0.bias": torch.zeros(5)}),
            r"misshapen stages.0.skip_denses.0.bias: \(5,\) instead of \(32,\)",
        ),
        (
            lambda sd: sd.update({"stages.0.input_layer.1.weight": torch.zeros(5)}),
            "misshapen stages.0.input_layer.1.weight",
        ),
    ],
)
def test_a_wrong_tensor_is_named(state_dict, damage, named):
    damaged = dict(state_dict)
    damage(damaged)
    with pytest.raises(LayoutMismatch, match=named):
        from_state_dict(damaged, num_heads=4)


@pytest.mark.parametrize("heads", [0, 5])
def test_heads_that_do_not_divide_the_width_are_refused(state_dict, heads):
    with pytest.raises(LayoutMismatch, match=f"num_heads = {heads}"):
        from_state_dict(state_dict, num_heads=heads)


@pytest.mark.parametrize("nonsense", [{}, {"a": 1}, {"weight": torch.zeros(2)}])
def test_something_else_entirely_is_refused(nonsense):
    with pytest.raises(LayoutMismatch):
        from_state_dict(nonsense, num_heads=4)


def test_numpy_arrays_are_taken_as_they_come_from_a_file(state_dict, model):
    loaded = from_state_dict({k: v.numpy() for k, v in state_dict.items()}, num_heads=4)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=0, rtol=0)


def test_two_state_dicts_in_one_file_are_not_guessed_between(state_dict):
    with pytest.raises(LayoutMismatch, match="model, ema"):
        from_state_dict({"model": state_dict, "ema": state_dict, "step": 3}, num_heads=4)
