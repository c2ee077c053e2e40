"""Specs that describe no network are refused in words."""

import pytest
from pydantic import TypeAdapter, ValidationError

from model.specs.networks import (
    ConvNeXtStage,
    DiMRSpec,
    DiTSpec,
    Features,
    NetworkSpec,
    TransformerStage,
    UViTSpec,
)

TRANSFORMER = {"kind": "transformer", "dim": 8, "blocks": 3, "hidden": 16, "heads": 2, "patch": 4}
CONVNEXT = {"kind": "convnext", "dim": 6, "blocks": 1, "hidden": 8}
DIMR = {"size": 16, "channels": 3, "classes": 5, "stages": [TRANSFORMER, CONVNEXT]}
PLAIN = {
    "size": 16,
    "channels": 3,
    "classes": 5,
    "dim": 8,
    "blocks": 3,
    "heads": 2,
    "patch": 2,
}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stages": []}, "stages"),
        ({"size": 18}, "pool \\* patch = 4; allowed: a divisor of size = 18"),
        ({"colour": 1}, "colour"),
        ({"stages": [CONVNEXT, CONVNEXT | {"patch": 2}]}, "grid of 8 does not follow.*low to high"),
        ({"time": "token"}, "norm: got 'td-rmsnorm'.*allowed: 'rmsnorm' or 'layernorm'"),
        ({"time": "adaln-zero", "norm": "rmsnorm"}, "norm: got 'rmsnorm'.*allowed: 'layernorm'"),
        (
            {"time": "token", "norm": "rmsnorm", "stages": [CONVNEXT]},
            r"stages\[0\]: got 'convnext' with time = 'token'; allowed: 'transformer'",
        ),
        ({"time": "clock"}, "'norm', 'token' or 'adaln-zero'"),
        ({"mlp": "relu"}, "'geglu' or 'gelu'"),
        ({"cascade": "product"}, "'add', 'concat' or 'skips'"),
    ],
)
def test_a_dimr_that_cannot_be_built_is_refused(changes, named):
    with pytest.raises(ValidationError, match=named):
        DiMRSpec.model_validate(DIMR | changes)


@pytest.mark.parametrize(
    ("stage", "values", "named"),
    [
        (TransformerStage, {"dim": 10, "heads": 3}, "heads: got 3; allowed: a divisor of dim = 10"),
        (TransformerStage, {"dim": 8, "heads": 2, "blocks": 4}, "rounds 4 up to 5"),
        (TransformerStage, {"dim": 8, "heads": 2, "class_input": "added"}, "class_input"),
        (ConvNeXtStage, {"dim": 8, "kernel": 4}, "kernel: got 4"),
        (ConvNeXtStage, {"dim": 0}, "dim"),
        (ConvNeXtStage, {"dim": 8, "class_input": "token"}, "'none' or 'added'"),
    ],
)
def test_a_stage_that_cannot_be_built_is_refused(stage, values, named):
    with pytest.raises(ValidationError, match=named):
        stage.model_validate({"blocks": 1, "hidden": 8} | values)


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        (UViTSpec, {"heads": 3}, "heads: got 3; allowed: a divisor of dim = 8"),
        (UViTSpec, {"patch": 3}, "patch: got 3; allowed: a divisor of size = 16"),
        (UViTSpec, {"blocks": 4}, "blocks: got 4; allowed: an odd number"),
        (UViTSpec, {"time": "clock"}, "time"),
        (DiTSpec, {"patch": 5}, "patch: got 5; allowed: a divisor of size = 16"),
        (DiTSpec, {"dim": 10}, "dim: got 10; allowed: a multiple of 4"),
        (DiTSpec, {"time": "token"}, "time"),
    ],
)
def test_a_baseline_that_cannot_be_built_is_refused(kind, changes, named):
    with pytest.raises(ValidationError, match=named):
        kind.model_validate(PLAIN | changes)


def test_the_kind_chooses_the_network():
    of = TypeAdapter(NetworkSpec).validate_python
    assert isinstance(of({"kind": "dimr"} | DIMR), DiMRSpec)
    assert isinstance(of({"kind": "uvit"} | PLAIN), UViTSpec)
    assert isinstance(of({"kind": "dit"} | PLAIN), DiTSpec)
    with pytest.raises(ValidationError, match="unet"):
        of({"kind": "unet"} | PLAIN)


def test_a_stage_hands_up_all_its_features_or_the_last():
    spec = DiMRSpec.model_validate(DIMR)
    assert spec.handed_widths == (8 * 4, 6 * 2)
    assert spec.model_copy(update={"features": Features.LAST}).handed_widths == (8, 6)
