"""What is wrong with a checkpoint, named: the one tensor that contradicts all others."""

import json
import re
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from model.denoisers.carriers import LayoutMismatch
from model.denoisers.dimr import DiMR
from model.denoisers.official import from_state_dict, official_name
from model.denoisers.sizes import spec_of
from model.specs.networks import DiMRSpec
from model.specs.recipe import Recipe

OFFICIAL = Path(__file__).parents[2] / "fixtures" / "official"
MANIFESTS = sorted((OFFICIAL / "manifests").glob("*.json"))

LOW = {"kind": "transformer", "dim": 12, "blocks": 1, "hidden": 24, "heads": 3, "patch": 4}
HIGH = {"kind": "convnext", "dim": 10, "blocks": 1, "hidden": 20, "kernel": 5}
NETWORKS = {
    "two": {"size": 16, "channels": 3, "classes": 7, "stages": [LOW, HIGH]},
    "three": {
        "size": 16,
        "channels": 4,
        "classes": 7,
        "norm": "rmsnorm",
        "stages": [LOW, HIGH | {"dim": 8, "blocks": 3, "patch": 2}, HIGH | {"dim": 6}],
    },
}
# Any number of rows is legal where one Transformer stage has classes.
UNDECIDABLE = "stages.0.class_embeds.weight"


def tensors_of(spec):
    network = DiMR(DiMRSpec.model_validate(spec))
    return {official_name(name): value.detach() for name, value in network.state_dict().items()}


@pytest.fixture(scope="module", params=NETWORKS)
def whole(request):
    return tensors_of(NETWORKS[request.param])


@pytest.fixture(scope="module")
def two():
    return tensors_of(NETWORKS["two"])


def refusal(tensors, heads=3):
    with pytest.raises(LayoutMismatch) as refused:
        from_state_dict(tensors, num_heads=heads)
    return str(refused.value)


def blamed(message):
    """Every tensor that a message names."""
    return set(re.findall(r"stages\.\d+(?:\.\w+)+", message))


def with_a_row_more(value):
    return torch.cat((value, value[:1]))


def with_a_row_less(value):
    return value[:-1]


def with_an_axis_more(value):
    return value[None]


@pytest.mark.parametrize("harm", [with_a_row_more, with_a_row_less, with_an_axis_more])
def test_a_single_misshapen_tensor_is_the_only_one_named(whole, harm):
    for name, value in whole.items():
        if name == UNDECIDABLE and harm is not with_an_axis_more:
            continue
        message = refusal(whole | {name: harm(value)})
        assert blamed(message) == {name}
        assert message.startswith(f"misshapen {name}: {tuple(harm(value).shape)} instead of (")
        if harm is not with_an_axis_more:
            assert message.endswith(f" instead of {tuple(value.shape)}")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("stages.0.blocks.0.block2.w0.weight", (24, 13)),
        ("stages.0.input_layer.1.weight", (12, 3, 4, 3)),
        ("stages.1.input_layer.1.weight", (10, 3, 1, 2)),
        ("stages.1.blocks.0.block1.1.weight", (10, 1, 5, 10)),
        ("stages.1.upsample.1.kernel.bias", (640,)),
        ("stages.1.upsample.1.kernel.weight", (40, 24)),
        ("stages.1.output_layer.2.weight", (3, 10, 5, 5)),
        ("stages.0.class_embeds.weight", (8, 13)),
    ],
)
def test_a_misshapen_tensor_is_told_its_shape(two, name, shape):
    message = refusal(two | {name: torch.zeros(shape)})
    assert message == f"misshapen {name}: {shape} instead of {tuple(two[name].shape)}"


def test_patches_that_may_be_one_of_two_are_told_both(two):
    message = refusal(two | {"stages.0.input_layer.1.weight": torch.zeros(12, 3, 4, 2)})
    assert message.endswith("instead of (12, 3, 2, 2) or (12, 3, 4, 4)")


@pytest.mark.parametrize("rows", [2, 5, 1001])
def test_any_number_of_classes_is_legal(two, rows):
    loaded = from_state_dict(two | {UNDECIDABLE: torch.zeros(rows, 12)}, num_heads=3)
    assert loaded.spec.classes == rows - 1


def test_a_null_class_alone_is_no_class(two):
    message = refusal(two | {UNDECIDABLE: torch.zeros(1, 12)})
    assert message.startswith(f"misshapen {UNDECIDABLE}: (1, 12) instead of (classes + 1, 12)")


def test_positions_that_contradict_each_other_are_both_named_where_nothing_decides(two):
    name = "stages.{}.input_layer.3.position_embeddings.weight"
    message = refusal(two | {name.format(0): torch.zeros(64, 12)})
    assert message.startswith("these contradict each other")
    assert blamed(message) == {name.format(0), name.format(1)}


def test_positions_of_another_square_are_named_where_two_branches_agree():
    tensors = tensors_of(NETWORKS["three"])
    name = "stages.0.input_layer.3.position_embeddings.weight"
    message = refusal(tensors | {name: torch.zeros(64, 12)})
    assert message == f"misshapen {name}: (64, 12) instead of (16, 12)"


@pytest.mark.parametrize(
    "name",
    [
        "stages.0.blocks.999999999.block1.dense.bias",
        "stages.0.blocks.1.block1.dense.bias",
        "stages.1.skip_denses.99999.bias",
        "stages.1.skip_denses.0.bias",
        "stages.999999999.input_layer.1.bias",
        "stages.2.input_layer.1.bias",
        f"stages.0.blocks.{'9' * 5000}.block1.dense.bias",
    ],
    ids=range(7),
)
def test_a_number_out_of_line_is_unexpected_and_makes_no_block(two, name):
    assert refusal(two | {name: torch.zeros(12)}) == f"unexpected {name}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_named(two, value):
    name = "stages.1.blocks.0.block2.w1.bias"
    harmed = two[name].double()
    harmed[3] = value
    assert refusal(two | {name: harmed}) == f"not finite as float32: {name}"


def quantised(value):
    with warnings.catch_warnings(action="ignore"):  # that PyTorch will drop them
        return torch.empty(value.shape, dtype=torch.qint8)


@pytest.mark.parametrize(
    ("form", "named"),
    [
        (lambda v: v.to_sparse(), "(sparse_coo)"),
        (lambda v: v.to("meta"), "(meta)"),
        (lambda v: v.to(torch.complex64), "(torch.complex64)"),
        (quantised, "(torch.qint8)"),
        (lambda v: v.to(torch.int8), "(torch.int8)"),
        (lambda v: np.full(v.shape, "a"), "(<U1)"),
    ],
    ids=["sparse", "meta", "complex", "quantised", "integer", "text"],
)
def test_tensors_that_are_no_plain_numbers_are_named(two, form, named):
    name = "stages.1.blocks.0.block2.w1.bias"
    assert f"{name} {named}" in refusal(two | {name: form(two[name])})


def test_arrays_of_another_byte_order_are_taken(two):
    arrays = {name: value.numpy().astype(">f4") for name, value in two.items()}
    loaded = from_state_dict(arrays, num_heads=3).state_dict()
    for name, value in loaded.items():
        torch.testing.assert_close(value, two[official_name(name)], atol=0, rtol=0)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_published_layout_is_read_as_the_named_variant(path):
    layout = json.loads(path.read_text())["layout"]
    tensors = {
        name.replace("*", str(k)): torch.empty(shape, device="meta")
        for name, (copies, shape) in layout.items()
        for k in range(copies)
    }
    recipe = (files("model") / "recipes" / path.name).read_text()
    network = Recipe.model_validate_json(recipe).network
    heads = network.model_dump()["stages"][0]["heads"]
    assert spec_of(tensors, num_heads=heads) == network


@pytest.fixture(scope="module")
def recorded():
    with np.load(OFFICIAL / "dimr_two_branches.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture
def state_dict(recorded):
    prefix = "state_dict/"
    return {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}


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


UNEVEN = {
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


@pytest.fixture
def uneven_state_dict():
    return tensors_of(UNEVEN)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            lambda sd: [sd.pop(k) for k in list(sd) if re.match(r"stages\.2\.blocks\.4\.", k)],
            r"missing stages\.2\.blocks\.4\.block1\.1\.bias",
        ),
        (
            lambda sd: [sd.pop(k) for k in list(sd) if re.match(r"stages\.1\.", k)],
            r"missing stages\.1\.input_layer",
        ),
        (
            lambda sd: sd.pop("stages.1.class_embeds.weight"),
            r"missing stages\.1\.class_embeds\.weight",
        ),
        (
            lambda sd: sd.pop("stages.0.blocks.0.block2.norm.scale.param0"),
            r"^missing stages\.0\.blocks\.0\.block2\.norm\.scale\.param0$",
        ),
        (
            lambda sd: sd.update({"stages.0.skip_denses.0.bias": torch.zeros(12).int()}),
            r"floating-point type: stages\.0\.skip_denses\.0\.bias \(torch\.int32\)",
        ),
        (lambda sd: sd.update(step=7), "not a tensor: step"),
        (
            lambda sd: sd.update({"stages.1.input_layer.1.weight": torch.zeros(8, 3, 3, 3)}),
            r"^misshapen stages\.1\.input_layer\.1\.weight: .* instead of \(8, 3, p, p\)",
        ),
        (
            lambda sd: [sd.pop(k) for k in list(sd) if k.endswith("param1")],
            r"missing .*; and \d+ more$",
        ),
    ],
    ids=["block", "stage", "class", "norm", "integer", "entry", "grid", "many"],
)
def test_what_is_wrong_in_three_branches_is_named(uneven_state_dict, damage, named):
    damage(uneven_state_dict)
    with pytest.raises(LayoutMismatch, match=named):
        from_state_dict(uneven_state_dict, num_heads=[3, 2])
