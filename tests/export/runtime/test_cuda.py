"""What only a CUDA device can show: streams, graphs and kernels together."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from export.runtime.build import build_engine
from model.sampling.images import ImageRequest, generate

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

REQUESTS = [
    ImageRequest(condition=0, seed=11, steps=6, sampler="dpmpp_2m", guidance=1.0, size=16),
    ImageRequest(condition=1, seed=11, steps=9, sampler="dpmpp_3s", guidance=3.0, size=16),
    ImageRequest(condition=2, seed=5, steps=4, sampler="ddim", guidance=1.5, size=16),
]


def facts_of(engine) -> Any:
    return engine.card["engine"]


def run(engine, requests):
    for slot, request in enumerate(requests):
        engine.admit(slot, **dataclasses.asdict(request))
    images, running = {}, set(range(len(requests)))
    while running:
        for slot in engine.step(sorted(running)):
            images[slot] = engine.take(slot)
            running.remove(slot)
    return [images[slot] for slot in range(len(requests))]


@pytest.mark.parametrize("name", ["pytorch", "pytorch-cuda", "pytorch-compile"])
def test_a_cuda_engine_draws_what_the_cpu_draws(tiny_folder, tiny_bundle, name):
    engine = build_engine(tiny_folder, device="cuda", capacity=3, engine=name)
    assert facts_of(engine)["backend"] == name
    expected = generate(tiny_bundle, REQUESTS, batch=1)
    for image, reference in zip(run(engine, REQUESTS), expected, strict=True):
        error = np.square(image.astype(float) - reference).mean()
        assert error < 255**2 / 10**4  # 40 dB


def test_an_image_is_bit_equal_wherever_its_rows_are_in_a_bucket(tiny_folder):
    engine = build_engine(tiny_folder, device="cuda", capacity=4, engine="pytorch-cuda")
    request = REQUESTS[1]
    others = [dataclasses.replace(request, seed=seed, condition=2) for seed in (3, 4)]
    first, *_ = run(engine, [request, *others])
    *_, last = run(engine, [*others, request])
    np.testing.assert_array_equal(first, last)


@pytest.mark.parametrize("name", ["pytorch", "pytorch-cuda", "pytorch-compile"])
def test_an_image_is_its_slots_even_if_the_slot_is_taken_before_it_is_waited_for(tiny_folder, name):
    engine = build_engine(tiny_folder, device="cuda", capacity=1, engine=name)
    (expected,) = run(engine, REQUESTS[:1])
    engine.admit(0, **dataclasses.asdict(REQUESTS[0]))
    while not engine.step([0]):
        pass
    image = engine.decode(0)
    run(engine, REQUESTS[1:2])
    np.testing.assert_array_equal(image(), expected)


def test_without_a_name_the_best_that_can_run_is_taken(tiny_folder):
    facts = facts_of(build_engine(tiny_folder, device="cuda", capacity=1))
    assert facts["backend"] == "pytorch-cuda"
    assert "engine 'tensorrt': bundle 'tiny' has no such engine" in facts["why"]
