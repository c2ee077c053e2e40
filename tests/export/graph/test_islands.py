"""Islands that a part has are those with weights: others keep nothing in float32."""

import torch
from torch import nn

from export.graph.islands import present
from export.graph.parts import Part
from export.graph.precision import Islands


class Timed(nn.Module):
    """A network with an embedding of time."""

    def __init__(self, time):
        super().__init__()
        self.network = nn.ModuleDict({"time": time, "out": nn.Linear(2, 2)})


def part_of(time):
    return Part("denoiser", Timed(time), {"x": torch.zeros(2, 2)}, ("y",))


def test_an_island_with_weights_is_present():
    assert present(part_of(nn.Sequential(nn.SiLU(), nn.Linear(2, 2))), Islands()) == ("time",)


def test_a_module_without_weights_is_no_island():
    assert present(part_of(nn.SiLU()), Islands()) == ()


def test_only_the_patterns_that_are_asked_for_count():
    part = part_of(nn.Linear(2, 2))
    assert present(part, Islands({"out": "", "*.wo": "", "time": ""})) == ("out", "time")
