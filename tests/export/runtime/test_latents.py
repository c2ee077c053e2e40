"""The engine on latents: nothing clamps them, and decoding does not look at neighbours."""

import dataclasses

import numpy as np
import pytest
import torch

from export.runtime.eager import EagerEngine
from model.bundle import BundleRefused
from model.sampling.images import ImageRequest, generate

MIXED = [
    ImageRequest(condition=0, seed=1, steps=3, sampler="dpmpp_3s", guidance=1.4, size=128),
    ImageRequest(condition=7, seed=2, steps=5, sampler="dpmpp_2m", guidance=1.0, size=128),
    ImageRequest(condition=9, seed=3, steps=4, sampler="ddim", guidance=3.0, size=128),
]


@pytest.fixture
def bundle(latent_bundle):
    return latent_bundle


@pytest.fixture
def engine(bundle):
    return EagerEngine(bundle, capacity=3, device=torch.device("cpu"))


def run(engine, requests):
    """Step all together; images in request order."""
    for slot, request in enumerate(requests):
        engine.admit(slot, **dataclasses.asdict(request))
    images, running = {}, set(range(len(requests)))
    while running:
        for slot in engine.step(sorted(running)):
            images[slot] = engine.take(slot)
            running.remove(slot)
    return [images[slot] for slot in range(len(requests))]


def test_a_decoded_image_is_bit_equal_alone_and_among_unlike_neighbours(engine):
    together = run(engine, MIXED)
    for request, image in zip(MIXED, together, strict=True):
        (alone,) = run(engine, [request])
        np.testing.assert_array_equal(image, alone)


def test_the_engine_draws_what_the_reference_draws(engine, bundle):
    expected = generate(bundle, MIXED, batch=1)
    for image, reference in zip(run(engine, MIXED), expected, strict=True):
        assert image.shape == (128, 128, 3)
        assert np.abs(image.astype(int) - reference).max() <= 1


def test_latents_leave_the_range_of_pixels(engine):
    engine.admit(0, condition=0, seed=1, steps=1, sampler="ddim", guidance=1.0, size=128)
    engine.step([0])
    assert engine._trajectories.state(0).abs().max() > 1.5


def test_an_engine_needs_the_autoencoder(bundle):
    bare = dataclasses.replace(bundle, autoencoder=None)
    with pytest.raises(BundleRefused, match="dimr-export add-autoencoder BUNDLE SOURCE"):
        EagerEngine(bare, capacity=1, device=torch.device("cpu"))
