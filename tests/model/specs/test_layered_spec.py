"""Layered networks that cannot be built are refused in words; any rising scales can be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from model.specs.layered import LayeredSpec
from model.specs.networks import NetworkSpec

LEVEL = {"width": 16, "blocks": 1}
ATTENDING = LEVEL | {"attention": True}
TEXT = {"width": 8, "tokens": 4}
SPEC = {
    "scales": [16, 32, 64],
    "core": [LEVEL, ATTENDING],
    "middle": 1,
    "outer": [LEVEL, LEVEL],
    "head_width": 8,
    "embedding": 16,
    "text": TEXT,
}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scales": []}, "scales"),
        ({"scales": [16, 0, 64]}, "scales.1"),
        ({"scales": [64, 32, 16]}, "scales: 32 does not follow 64; allowed: a larger multiple"),
        ({"scales": [16, 16, 32]}, "scales: 16 does not follow 16; allowed: a larger multiple"),
        ({"scales": [16, 24, 48]}, "scales: 24 does not follow 16; allowed: a larger multiple"),
        ({"outer": [LEVEL]}, "outer: got 1 levels for scales (16, 32, 64); allowed: 2, one a"),
        ({"scales": [16]}, "outer: got 2 levels for scales (16,); allowed: 0, one a"),
        ({"outer": [LEVEL, ATTENDING]}, "outer[1].attention: got true; allowed: false"),
        ({"core": []}, "core"),
        (
            {"scales": [6, 12, 24], "core": [LEVEL] * 3},
            "core: got 3 levels, which halve a side of 6 2 times; allowed: as many as leave",
        ),
        ({"scales": [2, 4, 8]}, "core: got 2 levels, which halve a side of 2 1 times; allowed:"),
        ({"core": [LEVEL | {"width": 12}]}, "width: got 12; allowed: a multiple of 8"),
        ({"core": [LEVEL | {"blocks": 0}]}, "core.0.blocks"),
        ({"head_width": 3}, "head_width: got 3; allowed: a divisor of the width 16 of every level"),
        (
            {"core": [LEVEL], "head_width": 32},
            "head_width: got 32; allowed: a divisor of the width 16 of every level with attention",
        ),
        ({"head_width": 0}, "head_width"),
        ({"middle": -1}, "middle"),
        ({"embedding": 0}, "embedding"),
        ({"dropout": 1.0}, "dropout"),
        ({"text": TEXT | {"tokens": 0}}, "text.tokens"),
        ({"text": TEXT | {"width": 0}}, "text.width"),
        ({"classes": 5}, "classes"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(changes, named):
    with pytest.raises(ValidationError, match=re.escape(named)):
        LayeredSpec.model_validate(SPEC | changes)


def test_without_attention_heads_may_have_any_width():
    spec = LayeredSpec.model_validate(SPEC | {"core": [LEVEL], "middle": 0, "head_width": 3})
    assert spec.head_width == 3


@given(low=st.integers(2, 64), ratios=st.lists(st.integers(2, 5), max_size=3))
def test_scales_are_any_that_rise_by_whole_ratios(low, ratios):
    scales = [low]
    for ratio in ratios:
        scales.append(scales[-1] * ratio)
    spec = LayeredSpec.model_validate(
        SPEC | {"scales": scales, "core": [LEVEL], "outer": [LEVEL] * len(ratios)}
    )
    assert spec.sides == tuple(scales)
    assert spec.size == scales[-1]


def test_the_paper_scales_are_the_default():
    chosen = {name: value for name, value in SPEC.items() if name != "scales"}
    assert LayeredSpec.model_validate(chosen).scales == (128, 256, 512)


def test_the_kind_chooses_it_among_the_networks():
    found = TypeAdapter(NetworkSpec).validate_python(SPEC | {"kind": "layered"})
    assert isinstance(found, LayeredSpec)
    assert TypeAdapter(NetworkSpec).validate_json(found.model_dump_json()) == found
