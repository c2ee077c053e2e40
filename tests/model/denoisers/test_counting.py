"""Counts against the published numbers and against closed forms."""

import functools
import time

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.denoisers.build import build_denoiser
from model.denoisers.counting import count_network, meta_network
from model.denoisers.family import VARIANTS
from model.specs.files import read_recipe
from model.specs.networks import (
    Cascade,
    ConvNeXtStage,
    DiMRSpec,
    DiTSpec,
    Norm,
    TimeInput,
    TransformerStage,
    UViTSpec,
)

PARAMETERS = {
    Norm.TD_RMSNORM: (132_828_681, 284_138_505, 505_046_408, 1_056_352_904, 525_027_372),
    Norm.TD_LAYERNORM: (132_941_577, 284_380_425, 505_386_248, 1_056_945_032, 525_387_372),
    Norm.RMSNORM: (132_744_009, 283_957_065, 504_791_528, 1_055_908_808, 524_757_372),
}
GMACS = {
    "dimr-m3r-64": (53.53, (26.40, 14.38, 12.75)),
    "dimr-l3r-64": (110.60, (58.24, 28.43, 23.93)),
    "dimr-xl2r-256": (160.18, (106.33, 53.85)),
    "dimr-g2r-256": (331.10, (222.20, 108.90)),
    "dimr-xl3r-512": (206.07, (106.34, 53.85, 45.88)),
}
XL_STAGE_0 = {"class": 960_960, "blocks": 359_948_160, "skip denses": 35_039_040}
XL_STAGE_1 = {
    "position": 491_520,
    "upsample in": 307_200,
    "upsample linear": 73_729_920,
    "upsample out": 3_840,
    "blocks": 29_625_120,
    "skip denses": 4_612_800,
    "output": 21_124,
}
M_AND_L_STAGE_0 = {"input conv": 37_632, "position": 196_608, "class": 768_768, "output": 26_883}
M_AND_L_STAGE_1 = {"input conv": 4_992, "position": 393_216, "upsample out": 3_072}
M_AND_L_STAGE_2 = {"input conv": 768, "position": 786_432, "upsample out": 1_536, "output": 6_723}
PARTS = {
    "dimr-m3r-64": (
        M_AND_L_STAGE_0 | {"blocks": 88_634_880, "skip denses": 8_262_912},
        M_AND_L_STAGE_1
        | {"upsample in": 98_304, "upsample linear": 18_875_904, "blocks": 8_166_528}
        | {"skip denses": 1_181_184, "output": 13_443},
        M_AND_L_STAGE_2
        | {"upsample in": 30_720, "upsample linear": 2_949_888, "blocks": 2_092_608}
        | {"skip denses": 295_680},
    ),
    "dimr-l3r-64": (
        M_AND_L_STAGE_0 | {"blocks": 194_996_736, "skip denses": 18_886_656},
        M_AND_L_STAGE_1
        | {"upsample in": 208_896, "upsample linear": 40_109_568, "blocks": 15_425_664}
        | {"skip denses": 2_362_368, "output": 13_443},
        M_AND_L_STAGE_2
        | {"upsample in": 55_296, "upsample linear": 5_309_184, "blocks": 3_952_704}
        | {"skip denses": 591_360},
    ),
    "dimr-xl2r-256": (
        XL_STAGE_0 | {"input conv": 16_320, "position": 245_760, "output": 42_244},
        XL_STAGE_1 | {"input conv": 2_400},
    ),
    "dimr-xl3r-512": (
        XL_STAGE_0 | {"input conv": 62_400, "position": 245_760, "output": 42_244},
        XL_STAGE_1 | {"input conv": 8_160},
        {"input conv": 1_200, "position": 983_040, "upsample in": 84_480}
        | {"upsample linear": 10_138_560, "upsample out": 1_920, "blocks": 7_554_960}
        | {"skip denses": 1_154_400, "output": 10_564},
    ),
    "dimr-g2r-256": (
        {"input conv": 19_584, "position": 294_912, "class": 1_153_152, "blocks": 757_368_576}
        | {"skip denses": 74_350_080, "output": 50_692},
        {"input conv": 2_880, "position": 589_824, "upsample in": 534_528}
        | {"upsample linear": 153_946_368, "upsample out": 4_608, "blocks": 58_714_560}
        | {"skip denses": 9_297_792, "output": 25_348},
    ),
}


@pytest.fixture(scope="module")
def count_of():
    """Count a variant, once."""
    return functools.cache(lambda name: count_network(read_recipe(name).network))


@pytest.mark.parametrize("norm", PARAMETERS)
@pytest.mark.parametrize("index", range(len(VARIANTS)))
def test_parameters_of_each_variant_and_norm_are_the_published_ones(norm, index):
    network = read_recipe(VARIANTS[index]).network.model_copy(update={"norm": norm})
    found = sum(parameter.numel() for parameter in meta_network(network).parameters())
    assert found == PARAMETERS[norm][index]


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_of_each_part_are_the_published_ones(count_of, name):
    found: list[dict[str, int]] = [{} for _ in PARTS[name]]
    for part in count_of(name).parts:
        found[part.stage][part.name] = part.parameters
    assert tuple(found) == PARTS[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_multiply_adds_are_the_published_ones_in_all_and_by_stage(count_of, name):
    count = count_of(name)
    total, stages = GMACS[name]
    assert round(count.macs / 1e9, 2) == total
    assert tuple(round(macs / 1e9, 2) for macs in count.stage_macs) == stages


@pytest.mark.parametrize("name", VARIANTS)
def test_parts_add_up_to_the_network(count_of, name):
    count = count_of(name)
    network = meta_network(read_recipe(name).network)
    assert count.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert count.macs == sum(count.stage_macs)


def test_multiply_adds_of_a_transformer_follow_from_its_sizes():
    dim, hidden, cells = 8, 24, 16
    stage = TransformerStage(dim=dim, blocks=3, hidden=hidden, heads=2, patch=2)
    spec = DiMRSpec(size=8, channels=3, classes=5, stages=(stage,))
    tokens = cells + 1
    projections = tokens * (4 * dim * dim + 3 * dim * hidden)
    attention = 2 * tokens * tokens * dim
    assert {part.name: part.macs for part in count_network(spec).parts} == {
        "input conv": cells * 3 * 2 * 2 * dim,
        "position": 0,
        "class": 0,
        "blocks": 3 * (projections + attention),
        "skip denses": tokens * 2 * dim * dim,
        "output": cells * 9 * dim * 3,
    }


def test_multiply_adds_of_a_convnext_follow_from_its_sizes():
    dim, hidden, cells = 8, 24, 16
    low = ConvNeXtStage(dim=4, blocks=1, hidden=4, patch=4)
    high = ConvNeXtStage(dim=dim, blocks=3, hidden=hidden, kernel=5, patch=2)
    spec = DiMRSpec(size=8, channels=3, classes=5, stages=(low, high))
    macs = {part.name: part.macs for part in count_network(spec).parts if part.stage == 1}
    assert macs["blocks"] == 3 * cells * (25 * dim + 3 * dim * hidden)
    assert macs["upsample linear"] == (cells // 4) * (2 * 4) * (4 * dim)
    assert macs["upsample in"] == macs["upsample out"] == 0


UVIT = UViTSpec(size=8, channels=3, classes=5, dim=8, blocks=3, heads=2, patch=2)
DIT = DiTSpec(size=8, channels=3, classes=5, dim=8, blocks=2, heads=2, patch=2)
TOLD_BY_ADALN = DiMRSpec(
    size=8,
    channels=3,
    classes=5,
    norm=Norm.LAYERNORM,
    time=TimeInput.ADALN_ZERO,
    cascade=Cascade.CONCAT,
    stages=(
        TransformerStage(dim=8, blocks=3, hidden=16, heads=2, patch=4),
        ConvNeXtStage(dim=4, blocks=3, hidden=8, patch=2),
    ),
)


@pytest.mark.parametrize("spec", [UVIT, DIT, TOLD_BY_ADALN])
def test_every_other_network_can_be_counted_and_is_counted_whole(spec):
    count = count_network(spec)
    found = sum(parameter.numel() for parameter in meta_network(spec).parameters())
    assert count.parameters == found
    x, t, y = torch.zeros(1, 3, 8, 8), torch.ones(1), torch.zeros(1).long()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        build_denoiser(spec)(x, t, y)
    assert count.macs == counter.get_total_flops() // 2 > 0


def test_a_network_of_one_scale_has_parts_but_no_stages():
    count = count_network(UVIT)
    assert count.stage_macs == ()
    assert {part.stage for part in count.parts} == {None}
    assert {"input conv", "position", "class", "blocks", "skip denses", "decoder"} <= {
        part.name for part in count.parts
    }


def test_what_is_shared_by_all_stages_belongs_to_none():
    count = count_network(TOLD_BY_ADALN)
    (shared,) = (part for part in count.parts if part.stage is None)
    assert shared.name == "time"
    assert shared.macs == count.macs - sum(count.stage_macs) == 2 * 8 * 8


def test_no_weight_of_the_largest_variant_is_ever_in_memory():
    network = meta_network(read_recipe("dimr-g2r-256").network)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


def test_counting_the_largest_variant_takes_seconds():
    began = time.process_time()
    count_network(read_recipe("dimr-g2r-256").network)
    assert time.process_time() - began < 10
