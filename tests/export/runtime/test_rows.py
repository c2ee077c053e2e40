"""Groups of rows: where a row's bits depend on how many there are, there are always as many."""

import pytest
import torch
from torch import nn

from export.runtime.rows import GROUP, agreeing_groups
from model.diffusion.predictor import NoisePredictor
from model.specs.process import CosineScheduleSpec, Prediction, ProcessSpec, ScalesSpec

SIDES = (2, 4)
SHAPES = [(3, side, side) for side in SIDES]
PROCESS = ProcessSpec(
    schedule=CosineScheduleSpec(),
    scales=ScalesSpec(),
    prediction=Prediction.NOISE,
    t_min=0.01,
    t_max=0.99,
)


class Rounding(nn.Module):
    """Rounds in its own way for each of some row counts when it is given so many scales."""

    def __init__(self, row_counts, scales):
        super().__init__()
        self.row_counts = row_counts
        self.scales = scales
        self.calls = []

    def forward(self, xs, t, y):
        self.calls.append((len(xs), len(t)))
        off = len(t) if len(xs) == self.scales and len(t) in self.row_counts else 0
        return [x * (t + y)[:, None, None, None] + off * 1e-6 for x in xs]


class Remainder(nn.Module):
    """Like kernels of six rows that leave what remains to others, which round unlike them."""

    def forward(self, xs, t, y):
        left = (torch.arange(len(t)) >= len(t) // 6 * 6) & (len(t) > 6)
        return [x * (t + y)[:, None, None, None] + 1e-6 * left[:, None, None, None] for x in xs]


def groups_of(network):
    condition = (torch.arange(GROUP),)
    return agreeing_groups(NoisePredictor(network, PROCESS, SIDES), SHAPES, condition)


def inputs(rows, scales):
    xs = tuple(torch.randn(rows, *shape) for shape in SHAPES[:scales])
    return xs, torch.rand(rows), (torch.arange(rows),)


@pytest.mark.parametrize(
    ("disagreeing", "agreeing"),
    [((), (2, 3, 4, 5, 6, 7, 8)), ((3, 5, 7), (2, 4, 6, 8)), (range(2, 8), (8,)), ((8,), (8,))],
)
def test_only_row_counts_that_agree_are_called(disagreeing, agreeing):
    network = Rounding(disagreeing, scales=2)
    groups = groups_of(network)
    assert [pace.row_counts for pace in groups.paces] == [(2, 3, 4, 5, 6, 7, 8), agreeing]
    network.calls.clear()
    for rows in range(1, 20):
        groups(*inputs(rows, scales=2))
    assert {rows for _, rows in network.calls} <= set(agreeing)


def test_rows_must_agree_at_the_end_of_a_group_too():
    """The first six rows are alike whatever the number; the last two of eight are not."""
    assert [pace.row_counts for pace in groups_of(Remainder()).paces] == [(8,), (8,)]


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 21])
@pytest.mark.parametrize("scales", [1, 2])
def test_any_number_of_rows_gets_what_each_gets_alone(rows, scales):
    groups = groups_of(Rounding((3, 5), scales=2))
    xs, t, condition = inputs(rows, scales)
    together = groups(xs, t, condition)
    assert [noise.shape for noise in together] == [x.shape for x in xs]
    for row in range(rows):
        part = slice(row, row + 1)
        alone = groups(tuple(x[part] for x in xs), t[part], (condition[0][part],))
        for whole, single in zip(together, alone, strict=True):
            assert torch.equal(whole[part], single)


def test_higher_scales_cost_nothing_where_they_are_not_asked_for():
    network = Rounding((), scales=2)
    groups = groups_of(network)
    network.calls.clear()
    (noise,) = groups(*inputs(3, scales=1))
    assert network.calls == [(1, 3)]
    assert noise.shape == (3, 3, 2, 2)


def test_the_pace_of_every_number_of_scales_is_measured():
    assert all(pace.row_seconds > 0 for pace in groups_of(Rounding((), scales=2)).paces)
