"""Agreement with the authors' implementation, through their own checkpoint layout."""

import collections
from pathlib import Path

import numpy as np
import pytest
import torch

from model.denoisers.carriers import LayoutMismatch
from model.denoisers.dimr import DiMR
from model.denoisers.official import from_state_dict, official_name, state_dicts
from model.diffusion.loss import branch_losses
from model.specs.networks import DiMRSpec, Norm

OFFICIAL = Path(__file__).parents[2] / "fixtures" / "official"
FIXTURE = OFFICIAL / "dimr_two_branches.npz"


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
        loss = branch_losses(predictions, recorded["train/eps"]).sum(0)
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
        lambda sd: {"nnet_ema": sd, "optimizer": {"state": {0: {"step": 1}}}, "args": ["x"]},
        lambda sd: {"state": {"ema": collections.OrderedDict(sd)}},
        lambda sd: {f"_orig_mod.module.{k}": v for k, v in sd.items()},
        lambda sd: {f"model.{k}": v for k, v in sd.items()} | {"loss.weight": torch.ones(2)},
        lambda sd: {"ema": {f"module.nnet.{k}": v for k, v in sd.items()}},
        lambda sd: {k: torch.nn.Parameter(v) for k, v in sd.items()},
    ],
    ids=range(9),
)
def test_wrappers_and_prefixes_are_looked_through(state_dict, model, wrap):
    assert_same(from_state_dict(wrap(state_dict), num_heads=4), model)


def assert_same(loaded, model):
    assert loaded.spec == model.spec
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


@pytest.mark.parametrize("norm", [Norm.TD_RMSNORM, Norm.TD_LAYERNORM, Norm.RMSNORM])
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


@pytest.mark.parametrize("heads", [0, 5])
def test_heads_that_do_not_divide_the_width_are_refused(state_dict, heads):
    with pytest.raises(LayoutMismatch, match=f"num_heads = {heads}"):
        from_state_dict(state_dict, num_heads=heads)


@pytest.mark.parametrize("nonsense", [{}, {"a": 1}, {"weight": torch.zeros(2)}])
def test_something_else_entirely_is_refused(nonsense):
    with pytest.raises(LayoutMismatch):
        from_state_dict(nonsense, num_heads=4)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "form",
    [
        np.asarray,
        read_only,
        lambda a: a.astype(np.float64),
        lambda a: a[..., ::-1].copy()[..., ::-1],
    ],
    ids=["plain", "read-only", "double", "negative strides"],
)
def test_numpy_arrays_are_taken_as_they_come(state_dict, model, form):
    arrays = {name: form(value.numpy()) for name, value in state_dict.items()}
    assert_same(from_state_dict(arrays, num_heads=4), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_becomes_float32(state_dict, dtype):
    loaded = from_state_dict({k: v.to(dtype) for k, v in state_dict.items()}, num_heads=4)
    name = "stages.0.input_layer.1.weight"
    expected = state_dict[name].to(dtype).float()
    ours = {official_name(name): value for name, value in loaded.state_dict().items()}
    torch.testing.assert_close(ours[name], expected, atol=0, rtol=0)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_the_model_does_not_share_its_weights_with_the_checkpoint(state_dict):
    given = {name: value.clone() for name, value in state_dict.items()}
    loaded = from_state_dict(given, num_heads=4)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
    for name, value in state_dict.items():
        torch.testing.assert_close(given[name], value, atol=0, rtol=0)


@pytest.mark.parametrize(
    "several",
    [
        lambda sd: {"model": sd, "ema": sd, "step": 3},
        lambda sd: {f"{k}.{name}": v for k in ("model", "ema") for name, v in sd.items()},
    ],
)
def test_two_state_dicts_in_one_file_are_not_guessed_between(state_dict, several):
    with pytest.raises(LayoutMismatch, match=r"model, ema|ema, model"):
        from_state_dict(several(state_dict), num_heads=4)


def test_each_state_dict_of_a_checkpoint_has_its_place(state_dict):
    checkpoint = {
        "nnet": state_dict,
        "trainer": {"ema": {f"module.{k}": v for k, v in state_dict.items()}, "step": 3},
        "old": {f"net.{k}": v for k, v in state_dict.items()},
    }
    found = state_dicts(checkpoint)
    assert found.keys() == {"nnet", "trainer.ema", "old.net"}
    assert all(tensors.keys() == state_dict.keys() for tensors in found.values())
    assert state_dicts(state_dict).keys() == {""}


UNEVEN = DiMRSpec.model_validate(
    {
        "size": 24,
        "channels": 3,
        "classes": 1000,
        "stages": [
            {"kind": "transformer", "dim": 12, "blocks": 3, "hidden": 24, "heads": 3, "patch": 12},
            {"kind": "transformer", "dim": 8, "blocks": 1, "hidden": 10, "heads": 2, "patch": 2}
            | {"pool": 2},
            {"kind": "convnext", "dim": 6, "blocks": 5, "hidden": 8, "kernel": 3},
        ],
    }
)


@pytest.fixture(scope="module")
def uneven():
    torch.manual_seed(0)
    model = DiMR(UNEVEN)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    return model.eval()


@pytest.fixture
def uneven_state_dict(uneven):
    return {official_name(name): value for name, value in uneven.state_dict().items()}


def test_upsampling_by_other_factors_and_heads_of_each_stage_are_read(uneven, uneven_state_dict):
    assert UNEVEN.grids == (2, 6, 24)
    loaded = from_state_dict(uneven_state_dict, num_heads=[3, 2])
    assert_same(loaded, uneven)
    x, t = torch.randn(2, 3, 24, 24), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        for ours, theirs in zip(
            loaded(x, t, torch.tensor([7, 1000])),
            uneven(x, t, torch.tensor([7, 1000])),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def test_one_number_of_heads_stands_for_every_stage(uneven_state_dict):
    loaded = from_state_dict(uneven_state_dict, num_heads=4)
    stages = loaded.spec.model_dump()["stages"]
    assert [stage.get("heads") for stage in stages] == [4, 4, None]


@pytest.mark.parametrize("heads", [[3], [3, 2, 1], []])
def test_heads_are_one_number_or_one_a_stage(uneven_state_dict, heads):
    with pytest.raises(LayoutMismatch, match="num_heads: got"):
        from_state_dict(uneven_state_dict, num_heads=heads)
