"""Bound calls are looked at, every one of them, before an image is drawn."""

import dataclasses

import pytest
import torch
from torch import nn

from export.graph.parts import denoiser_parts
from export.runtime.soundness import unsound

CPU = torch.device("cpu")
BUCKETS = (1, 2, 4)


class Altered(nn.Module):
    """A part whose answers to calls of some numbers of rows are changed."""

    def __init__(self, module, rows, change):
        super().__init__()
        self.module = module
        self.rows = rows
        self.change = change
        self.calls = []

    def forward(self, *given):
        self.calls.append(len(given[0]))
        answers = self.module(*given)
        return answers if len(given[0]) not in self.rows else tuple(map(self.change, answers))


@pytest.fixture(params=["tiny_bundle", "layered_bundle"])
def parts(request):
    return denoiser_parts(request.getfixturevalue(request.param).network)


def fault_of(parts, which, rows, change):
    calls = [
        Altered(part.module, rows if k == which else (), change) for k, part in enumerate(parts)
    ]
    return unsound(calls, parts, BUCKETS, CPU)


def test_sound_calls_are_made_once_each_the_largest_first(parts):
    calls = [Altered(part.module, (), None) for part in parts]
    assert unsound(calls, parts, BUCKETS, CPU) is None
    assert [call.calls for call in calls] == [[4, 2, 1]] * len(parts)


@pytest.mark.parametrize("wrong", [1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("rows", BUCKETS)
def test_every_call_of_every_part_is_looked_at(parts, rows, wrong):
    for which, part in enumerate(parts):
        fault = fault_of(parts, which, (rows,), lambda answer: answer * wrong)
        assert fault == f"{part.name} of {rows} rows"


@pytest.mark.parametrize("rows", [2, 4])
def test_rows_that_are_mixed_up_are_found(parts, rows):
    fault = fault_of(parts, 0, (rows,), lambda answer: answer.roll(1, 0))
    assert fault == f"{parts[0].name} of {rows} rows"


def test_a_single_wrong_row_is_found(parts):
    def spoilt(answer):
        return answer * torch.tensor([1.0, 1.0, -1.0, 1.0])[:, None, None, None]

    assert fault_of(parts, 0, (4,), spoilt) is not None


def test_one_row_is_enough(parts):
    altered = [dataclasses.replace(part) for part in parts]
    assert unsound([part.module for part in altered], parts, (1,), CPU) is None
