"""Groups, rates and the moving average."""

import pytest
import torch
from torch import nn

from model.denoisers.build import build_denoiser
from model.specs.training import OptimiserSpec
from model.training.optimiser import build_optimiser, follow, rate_at


def test_gates_are_not_decayed_and_everything_else_is(tiny_recipe):
    network = build_denoiser(tiny_recipe.network)
    spec = tiny_recipe.training.optimiser
    decayed, free = build_optimiser(network, spec).param_groups
    names = {id(p): n for n, p in network.named_parameters()}
    assert free["weight_decay"] == 0
    assert decayed["weight_decay"] == spec.weight_decay
    assert decayed["betas"] == spec.betas == (0.99, 0.99)
    gates = {name for name in names.values() if name.endswith((".slope", ".offset"))}
    assert gates
    assert {names[id(p)] for p in free["params"]} == gates
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_the_rate_warms_up_holds_and_falls_to_its_floor():
    spec = OptimiserSpec(rate=2.0, warmup_steps=10, tail=0.5, tail_floor=0.1)
    rates = [rate_at(step, 100, spec) for step in (0, 5, 10, 50, 75, 100)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 2.0, 1.1, 0.2])


def test_the_average_follows_by_its_rate():
    network, average = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = 0.9 * average.weight.detach() + 0.1 * network.weight.detach()
    follow(average, network, 0.9)
    torch.testing.assert_close(average.weight.detach(), expected)
