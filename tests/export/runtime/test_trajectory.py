"""A tick asks its device for nothing: it runs where there is nothing to ask."""

import copy

import pytest
import torch

from export.runtime.trajectory import Trajectories
from model.diffusion.predictor import NoisePredictor
from model.sampling.samplers import tables_for

NOWHERE = torch.device("meta")  # tensors without values: whatever looks at one, or waits, raises


@pytest.mark.parametrize("guidance", [(1.0, 1.0, 1.0), (1.0, 2.0, 3.0), (2.0, 2.0, 2.0)])
def test_a_tick_of_classes_never_looks_at_a_value(tiny_bundle, guidance):
    manifest = tiny_bundle.manifest
    network = copy.deepcopy(tiny_bundle.network).to(NOWHERE)
    predictor = NoisePredictor(network, manifest.process, (8,))
    null = (torch.full((1,), 3, device=NOWHERE),)
    trajectories = Trajectories(4, [(12, 8, 8)], null=null, threshold=lambda m: m.clamp(-1, 1))
    noise = (torch.empty(1, 12, 8, 8, device=NOWHERE),)
    for slot, scale in enumerate(guidance):
        tables = tables_for(
            manifest.process,
            (8,),
            manifest.sampling,
            steps=3 - slot // 2,
            sampler="dpmpp_2m",
            guidance=scale,
        )
        trajectories.start(slot, tables, noise, null)
    with torch.inference_mode():
        assert trajectories.step([0, 1, 2], lambda xs, t, y: predictor(xs, t, *y)) == []
        assert trajectories.step([0, 1, 2], lambda xs, t, y: predictor(xs, t, *y)) == [2]


@pytest.mark.parametrize("depths", [(1, 2, 3), (3, 3, 3)])
def test_a_tick_of_prompts_never_looks_at_a_value(layered_bundle, depths):
    manifest, sides = layered_bundle.manifest, (8, 16, 32)
    network = copy.deepcopy(layered_bundle.network).to(NOWHERE)
    predictor = NoisePredictor(network, manifest.process, sides)
    states, mask = layered_bundle.prompts.states([""])
    null = (states.to(NOWHERE), mask.to(NOWHERE))
    shapes = [(3, side, side) for side in sides]
    trajectories = Trajectories(3, shapes, null=null, threshold=lambda m: m)
    noise = tuple(torch.empty(1, *shape, device=NOWHERE) for shape in shapes)
    tables = tables_for(
        manifest.process, sides, manifest.sampling, steps=1, sampler="ddim", guidance=2.0
    )
    for slot, depth in enumerate(depths):
        trajectories.start(slot, tables[:depth], noise, null)
    with torch.inference_mode():
        assert trajectories.step([0, 1, 2], lambda xs, t, c: predictor(xs, t, *c)) == [0, 1, 2]
