"""Errors of layers and islands: the one that is too large for float16 is the one that is named."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from export.graph.parts import Part, denoiser_parts
from export.graph.precision import Precision
from export.parity.islands import island_errors
from export.parity.layers import layer_errors, tapped_part


class Toy(nn.Module):
    """Three layers and an embedding of time, traced in no time."""

    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x, t):
        x = x + self.time(t)
        for block in self.blocks:
            x = x + block(x)
        return (x,)


@pytest.fixture
def part():
    torch.manual_seed(0)
    module = Toy().eval().requires_grad_(requires_grad=False)
    inputs = {"x": torch.randn(2, 4), "t": torch.randn(2, 4)}
    return Part("denoiser", module, inputs, ("prediction",))


@pytest.fixture
def calls():
    generator = torch.Generator().manual_seed(1)
    return [tuple(torch.randn(3, 4, generator=generator) for _ in range(2)) for _ in range(2)]


def as_it_is(part):
    return part


def test_layers_come_out_behind_the_prediction_in_the_order_of_computation(network, reference):
    (part,) = denoiser_parts(network)
    tapped = tapped_part(part)
    assert tapped.outputs[0] == "prediction"
    assert all(name.startswith("down.0") or "." in name for name in tapped.outputs[1:])
    inputs = reference.calls[0].inputs
    with torch.no_grad():
        given = tapped.module(*inputs)
        torch.testing.assert_close(given[0], part.module(*inputs)[0])
    assert len(given) == len(tapped.outputs)
    assert not any(module._forward_hooks for module in part.module.modules())


def test_the_layer_that_overflows_is_the_first_one_that_is_wrong(part, calls):
    part.module.blocks[1].weight.mul_(1e6)
    layers = layer_errors(part, as_it_is, Precision.FP16, calls)
    assert [layer.name for layer in layers] == ["blocks.0", "blocks.1", "blocks.2", "prediction"]
    first, second, _, prediction = layers
    assert first.error < 0.02
    assert second.error == math.inf
    assert not prediction.error < 1
    assert second.largest > 65504 > first.largest


def test_a_layer_is_named_by_its_worst_call(part, calls):
    part.module.blocks[1].weight.mul_(1e4)
    harmless = [tuple(1e-3 * value for value in call) for call in calls]
    harmful = [tuple(1e3 * value for value in calls[0]), *harmless]
    errors = [
        layer_errors(part, as_it_is, Precision.FP16, given)[1].error
        for given in (harmless, harmful)
    ]
    assert errors[0] < 0.02
    assert errors[1] == math.inf


def test_what_a_compiler_is_given_is_compared_with_the_network_itself(part, calls):
    def miswritten(part):
        module = copy.deepcopy(part.module)
        module.blocks[2].bias.add_(1)
        return replace(part, module=module)

    layers = {e.name: e.error for e in layer_errors(part, miswritten, Precision.FP32, calls)}
    assert max(layers["blocks.0"], layers["blocks.1"]) < 1e-5
    assert min(layers["blocks.2"], layers["prediction"]) > 0.1


def test_an_island_that_is_needed_shows_in_the_error_without_it(part, calls):
    inner, outer = part.module.time
    inner.weight.mul_(1e-6)
    inner.bias.mul_(1e-6)
    outer.weight.mul_(1e6)
    whole, without = island_errors(part, as_it_is, calls)
    assert (whole.without, without.without) == (None, "time")
    assert whole.error < 0.02
    assert not without.error < 1
    assert without.why


def test_a_part_without_islands_is_not_traced_for_them(network):
    def untraceable(part):
        raise AssertionError(part.name)

    (part,) = denoiser_parts(network)
    assert island_errors(part, untraceable, []) == ()
