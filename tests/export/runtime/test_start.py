"""What an engine does before its first image: all of it in the order of its ticks."""

import dataclasses
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from export.runtime.eager import eager_backend
from export.runtime.engine import SlotEngine
from export.runtime.streams import ProgramOrder
from export.runtime.trajectory import update_scale

CPU = torch.device("cpu")
CAPACITY = 5


def draw(engine, condition, size):
    """Take the one slot to its last step."""
    engine.admit(0, condition=condition, seed=3, steps=3, sampler="ddim", guidance=2.0, size=size)
    while not engine.step([0]):
        pass


class Noted(ProgramOrder):
    """Knows whether something is done within a tick."""

    def __init__(self):
        self.within = False

    @contextmanager
    def ticking(self):
        self.within = True
        yield
        self.within = False


class Slots(TorchDispatchMode):
    """Notes for every tensor of as many rows as slots whether it was made within a tick."""

    def __init__(self, streams):
        super().__init__()
        self.streams = streams
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and CAPACITY in out.shape[:2]:
            self.made.append(self.streams.within)
        return out


@pytest.fixture(params=["tiny_bundle", "layered_bundle"])
def bundle(request):
    return request.getfixturevalue(request.param)


def test_slots_are_made_where_ticks_write_them(bundle):
    """Else the first tick could come before what fills them."""
    streams = Noted()
    backend = dataclasses.replace(eager_backend(bundle, CPU, why="a test"), streams=streams)
    with Slots(streams) as slots:
        SlotEngine(bundle, backend, capacity=CAPACITY)
    assert slots.made
    assert all(slots.made)


def test_a_tick_of_every_size_is_rehearsed_and_leaves_no_trace(bundle):
    """What is compiled for it is there before the first request."""
    updated = []

    def update(scale, ticked, threshold):
        updated.append(scale.x.shape[-1])
        update_scale(scale, ticked, threshold)

    plain = eager_backend(bundle, CPU, why="a test")
    engine = SlotEngine(bundle, dataclasses.replace(plain, update=update), capacity=1)
    sides = bundle.manifest.network.sides
    depths = range(1, len(bundle.manifest.sizes) + 1)
    assert updated == [side for depth in depths for side in sides[:depth]]
    with pytest.raises(AssertionError, match="slot 0 is free"):
        engine.step([0])


def test_an_image_is_its_slots_even_if_the_slot_is_taken_before_it_is_waited_for(bundle):
    engine = SlotEngine(bundle, eager_backend(bundle, CPU, why="a test"), capacity=1)
    size = bundle.manifest.sizes[-1]
    conditions = [1, 2] if bundle.prompts is None else ["red apple", "a dog"]
    images = []
    for condition in conditions:
        draw(engine, condition, size)
        images.append(engine.decode(0))
    first, second = (image() for image in images)
    assert (first != second).any()
    draw(engine, conditions[0], size)
    np.testing.assert_array_equal(engine.take(0), first)
