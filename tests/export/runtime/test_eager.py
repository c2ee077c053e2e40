"""The engine: slots that never feel their neighbours, and the reference loop's images."""

import dataclasses

import numpy as np
import pytest
import torch

from export.runtime.eager import EagerEngine
from export.runtime.rows import Pace
from model.autoencoder import PixelCodec
from model.diffusion.predictor import NoisePredictor
from model.sampling.images import ImageRequest
from model.sampling.loop import sample
from model.sampling.noise import initial_noise
from model.sampling.samplers import SAMPLERS, tables_for


def request(label, seed, steps, sampler, guidance):
    return ImageRequest(
        condition=label, seed=seed, steps=steps, sampler=sampler, guidance=guidance, size=16
    )


MIXED = [
    request(0, 11, 10, "dpmpp_2m", 1.0),
    request(1, 11, 20, "dpmpp_2m", 3.0),
    request(2, 5, 50, "dpmpp_3s", 1.5),
    request(2, 6, 10, "ddim", 3.0),
    request(0, 7, 7, "dpmpp_2s", 1.0),
    request(1, 8, 20, "dpmpp_3m", 0.0),
]


@pytest.fixture(scope="module")
def shared(tiny_bundle):
    return EagerEngine(tiny_bundle, capacity=6, device=torch.device("cpu"))


@pytest.fixture
def engine(shared):
    """All slots are free."""
    yield shared
    for slot in range(shared.capacity):
        shared.release(slot)


def admit(engine, slot, wanted):
    engine.admit(slot, **dataclasses.asdict(wanted))


def run(engine, requests, *, every=1):
    """Step all requests together, one more joining every few ticks; images in request order."""
    waiting = list(enumerate(requests))
    running: dict[int, int] = {}
    images: dict[int, np.ndarray] = {}
    tick = 0
    while waiting or running:
        if waiting and tick % every == 0:
            slot = next(s for s in range(engine.capacity) if s not in running)
            index, wanted = waiting.pop(0)
            admit(engine, slot, wanted)
            running[slot] = index
        for slot in engine.step(sorted(running)):
            images[running.pop(slot)] = engine.take(slot)
        tick += 1
    return [images[k] for k in range(len(requests))]


@pytest.mark.parametrize("every", [1, 3])
def test_an_image_is_bit_equal_alone_and_among_unlike_neighbours(engine, every):
    together = run(engine, MIXED, every=every)
    for wanted, image in zip(MIXED, together, strict=True):
        (alone,) = run(engine, [wanted])
        np.testing.assert_array_equal(image, alone)


def test_the_slot_does_not_matter_and_seeds_and_classes_do(engine):
    admit(engine, 0, MIXED[1])
    admit(engine, 5, MIXED[1])
    admit(engine, 2, request(1, 12, 20, "dpmpp_2m", 3.0))
    admit(engine, 3, request(0, 11, 20, "dpmpp_2m", 3.0))
    for _ in range(19):
        assert engine.step([0, 2, 3, 5]) == []
    assert engine.step([0, 2, 3, 5]) == [0, 2, 3, 5]
    images = {slot: engine.take(slot) for slot in (0, 2, 3, 5)}
    np.testing.assert_array_equal(images[0], images[5])
    assert (images[0] != images[2]).any()
    assert (images[0] != images[3]).any()


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_engine_draws_what_the_reference_loop_draws(engine, tiny_bundle, sampler, guidance):
    (image,) = run(engine, [request(1, 3, 8, sampler, guidance)])
    manifest = tiny_bundle.manifest
    (table,) = tables_for(
        manifest.process, (8,), manifest.sampling, sampler=sampler, steps=8, guidance=guidance
    )
    predictor = NoisePredictor(tiny_bundle.network, manifest.process, (8,))
    x = sample(
        lambda x, t: predictor((x,), t, torch.full((len(x),), 1))[0],
        table,
        initial_noise([3], (12, 8, 8)),
        unconditional=lambda x, t: predictor((x,), t, torch.full((len(x),), 3))[0],
        threshold=lambda m: m.clamp(-1, 1),
    )
    expected = (PixelCodec(manifest.process.codec).decode(x)[0] + 1) * 127.5
    error = torch.from_numpy(image).permute(2, 0, 1) - expected
    assert error.abs().max() < 0.51  # half a level of rounding, and float32 in another order


def test_rows_without_guidance_cost_one_evaluation(engine, tiny_bundle, monkeypatch):
    unpadded = [Pace(tuple(range(1, 9)), 1.0)]  # so that calls show what was asked for
    monkeypatch.setattr(engine._network, "_paces", unpadded)
    calls = []
    handle = tiny_bundle.network.register_forward_pre_hook(
        lambda _, inputs: calls.append(len(inputs[0]))
    )
    for slot, guidance in enumerate((1.0, 1.0, 1.0, 2.0)):
        admit(engine, slot, request(0, slot, 1, "ddim", guidance))
    engine.step([0, 1, 2, 3])
    handle.remove()
    assert calls == [5]
    assert engine.plan(steps=2, sampler="ddim", guidance=1.0, size=16) == [1, 1]
    assert engine.plan(steps=2, sampler="ddim", guidance=2.0, size=16) == [2, 2]


def test_a_released_slot_can_be_used_again(engine):
    admit(engine, 0, MIXED[2])
    engine.step([0])
    engine.release(0)
    engine.release(0)
    (again,) = run(engine, [MIXED[0]])
    (fresh,) = run(engine, [MIXED[0]])
    np.testing.assert_array_equal(again, fresh)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sampler": "euler"}, "sampler: got 'euler'"),
        ({"steps": 0}, "steps: got 0"),
        ({"size": 32}, "size: got 32; allowed: 16"),
    ],
)
def test_a_plan_that_does_not_exist_is_refused(engine, changes, named):
    wanted = {"steps": 5, "sampler": "ddim", "guidance": 1.0, "size": 16}
    with pytest.raises(ValueError, match=named):
        engine.plan(**wanted | changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"condition": "a red apple"}, "prompt: got 'a red apple'; allowed: a class"),
        ({"condition": 3}, "label: got 3; allowed: 0 to 2"),
        ({"seed": -1}, "seed: got -1"),
        ({"size": 8}, "size: got 8; allowed: 16"),
    ],
)
def test_what_the_model_cannot_draw_leaves_the_slot_as_it_was(engine, changes, named):
    with pytest.raises(ValueError, match=named):
        admit(engine, 0, dataclasses.replace(MIXED[4], **changes))
    with pytest.raises(AssertionError, match="slot 0 is free"):
        engine.step([0])
    (fresh,) = run(engine, [MIXED[4]])
    admit(engine, 1, MIXED[4])
    with pytest.raises(ValueError, match=named):
        admit(engine, 1, dataclasses.replace(MIXED[0], **changes))
    while not engine.step([1]):
        pass
    np.testing.assert_array_equal(engine.take(1), fresh)


def test_the_card_says_what_can_be_asked(engine):
    card = engine.card
    assert card["sizes"] == [16]
    assert card["defaults"]["size"] == 16
    assert [entry["name"] for entry in card["classes"]] == ["a", "b", "c"]
    assert set(card["samplers"]) == set(SAMPLERS)
    assert card["row_costs"] == {16: 1.0}


def test_a_model_of_classes_has_no_previews_and_nothing_to_say_about_prompts(engine):
    assert engine.card["previews"] is False
    admit(engine, 0, MIXED[0])
    engine.step([0])
    assert engine.preview(0) is None
    assert engine.notice("a red apple " * 100) is None
