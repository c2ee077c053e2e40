import pytest
import torch
from torch import nn

from export.graph.nodes import norms_as_nodes, shared_copy
from export.graph.precision import Islands, narrow


def halves_of(part, islands):
    """The part in float16, and the types of its parameters by name."""
    network = norms_as_nodes(part.module)
    narrow(network, islands)
    return network, {name: p.dtype for name, p in network.named_parameters()}


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("network.time", True),
        ("network.time.inner", True),
        ("network.timely", False),
        ("network.stages.1.head.conv", True),
        ("network.stages.1.head.norm", False),
        ("network", False),
    ],
)
def test_an_island_covers_what_lies_in_it(name, inside):
    islands = Islands({"time": "for a test", "stages.*.head.conv": "for a test"})
    assert islands.covers(name) is inside


def test_norms_and_islands_stay_float32_and_all_else_is_float16(part_of):
    _, types = halves_of(part_of("dimr-xl2r-256"), Islands({"stages.1.head.conv": "for a test"}))
    wide = {name for name, dtype in types.items() if dtype == torch.float32}
    assert {"network.stages.1.head.conv.weight", "network.stages.1.head.conv.bias"} <= wide
    assert all(".norm" in name for name in wide if "head.conv" not in name)
    assert types["network.stages.0.trunk.blocks.0.attention.qkv.weight"] == torch.float16
    assert types["network.stages.0.head.conv.weight"] == torch.float16


def test_the_network_itself_stays_as_it_is(part_of):
    part = part_of("dit")
    before = {name: value.clone() for name, value in part.module.state_dict().items()}
    halves_of(part, Islands())
    torch.testing.assert_close(part.module.state_dict(), before, rtol=0, atol=0)
    assert {p.dtype for p in part.module.parameters()} == {torch.float32}
    assert not any(module._forward_pre_hooks for module in part.module.modules())


@pytest.mark.parametrize("family", ["dimr-m3r-64", "layered-512", "time token", "uvit", "dit"])
def test_what_comes_out_is_float32(part_of, family):
    part = part_of(family)
    network, _ = halves_of(part, Islands())
    with torch.no_grad():
        found = network(*part.inputs.values())
        wanted = part.module(*part.inputs.values())
    for f, w in zip(found, wanted, strict=True):
        assert f.dtype == torch.float32
        assert (f - w).abs().max() < 4e-3 * w.abs().max()


def test_blocks_take_float16_even_behind_an_island(part_of):
    part = part_of("uvit")
    network, _ = halves_of(part, Islands({"trunk.blocks.0": "for a test"}))
    seen = []
    for block in network.network.trunk.blocks:
        block.mlp.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    with torch.no_grad():
        network(*part.inputs.values())
    assert seen == [torch.float32, torch.float16, torch.float16]


def test_a_tensor_that_is_held_twice_stays_one():
    network = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    network["b"].weight = network["a"].weight
    copied = shared_copy(network)
    narrow(copied, Islands({}))
    assert (
        copied.get_parameter("a.weight").data_ptr() == copied.get_parameter("b.weight").data_ptr()
    )
    assert network["a"].weight.dtype == torch.float32
