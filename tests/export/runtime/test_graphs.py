"""Bound calls: what a CUDA graph asks of a network, rehearsed with a recorder of its kind."""

import pytest
import torch

from export.runtime.graphs import GraphedNetwork, binds_of


class Recorder:
    """Like a graph: the same memory is read and written each time, and only what was recorded."""

    def __init__(self):
        self.recorded = 0

    def capture(self, run):
        self.recorded += 1
        results = run()

        def repeat():
            for result, again in zip(results, run(), strict=True):
                result.copy_(again)

        return results, repeat


def network(xs, t, y):
    """Layered: each scale times t, plus the class."""
    return tuple(x * t[:, None] + y[:, None] for x in xs)


def part(*arguments):
    *xs, t, y = arguments
    return network(xs, t, y)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def graphed(recorder):
    return GraphedNetwork(binds_of([part, part], recorder.capture))


def call(rows, scales, seed):
    generator = torch.Generator().manual_seed(seed)
    xs = tuple(torch.randn(rows, 4 + scale, generator=generator) for scale in range(scales))
    return xs, torch.rand(rows, generator=generator), torch.arange(rows)


@pytest.mark.parametrize("scales", [1, 2])
def test_repeated_calls_answer_like_the_network(graphed, scales):
    for seed, rows in enumerate((3, 1, 3, 8, 1)):
        arguments = call(rows, scales, seed)
        for found, expected in zip(graphed(*arguments), network(*arguments), strict=True):
            assert torch.equal(found, expected)


def test_each_shape_is_recorded_once(graphed, recorder):
    for seed in range(3):
        for rows, scales in ((1, 1), (2, 1), (2, 2)):
            graphed(*call(rows, scales, seed))
    assert recorder.recorded == 3


def test_a_result_outlives_the_next_call_of_its_shape(graphed):
    (first,) = graphed(*call(2, 1, seed=0))
    kept = first.clone()
    graphed(*call(2, 1, seed=1))
    assert torch.equal(first, kept)


def test_the_callers_arguments_are_not_kept(graphed):
    xs, t, y = call(2, 1, seed=0)
    graphed(xs, t, y)
    xs[0].zero_()
    (found,) = graphed(*call(2, 1, seed=0))
    assert torch.equal(found, network(*call(2, 1, seed=0))[0])


def test_a_network_of_one_scale_takes_its_state_as_a_tensor(recorder):
    module = GraphedNetwork(binds_of([part], recorder.capture))
    (x,), t, y = call(3, 1, seed=0)
    (found,) = module(x, t, y)
    assert torch.equal(found, network((x,), t, y)[0])
