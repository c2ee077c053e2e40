"""The engine: slots that never feel their neighbours, and the reference loop's images."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from export.runtime.build import DeviceAbsent, build_engine
from export.runtime.eager import EagerEngine
from model.autoencoder import PixelCodec
from model.diffusion.predictor import NoisePredictor
from model.sampling.loop import sample
from model.sampling.noise import initial_noise
from model.sampling.samplers import SAMPLERS, table_for


@dataclass(frozen=True)
class Request:
    label: int
    seed: int
    steps: int
    sampler: str
    guidance: float


MIXED = [
    Request(0, 11, 10, "dpmpp_2m", 1.0),
    Request(1, 11, 20, "dpmpp_2m", 3.0),
    Request(2, 5, 50, "dpmpp_3s", 1.5),
    Request(2, 6, 10, "ddim", 3.0),
    Request(0, 7, 7, "dpmpp_2s", 1.0),
    Request(1, 8, 20, "dpmpp_3m", 0.0),
]


@pytest.fixture
def engine(tiny_bundle):
    return EagerEngine(tiny_bundle, capacity=6, device=torch.device("cpu"))


def admit(engine, slot, request):
    engine.admit(
        slot,
        label=request.label,
        seed=request.seed,
        steps=request.steps,
        sampler=request.sampler,
        guidance=request.guidance,
    )


def run(engine, requests, *, every=1):
    """Step all requests together, one more joining every few ticks; images in request order."""
    waiting = list(enumerate(requests))
    running: dict[int, int] = {}
    images: dict[int, np.ndarray] = {}
    tick = 0
    while waiting or running:
        if waiting and tick % every == 0:
            slot = next(s for s in range(engine.capacity) if s not in running)
            index, request = waiting.pop(0)
            admit(engine, slot, request)
            running[slot] = index
        for slot in engine.step(sorted(running)):
            images[running.pop(slot)] = engine.take(slot)
        tick += 1
    return [images[k] for k in range(len(requests))]


@pytest.mark.parametrize("every", [1, 3])
def test_an_image_is_bit_equal_alone_and_among_unlike_neighbours(engine, every):
    together = run(engine, MIXED, every=every)
    for request, image in zip(MIXED, together, strict=True):
        (alone,) = run(engine, [request])
        np.testing.assert_array_equal(image, alone)


def test_the_slot_does_not_matter_and_seeds_and_classes_do(engine):
    admit(engine, 0, MIXED[1])
    admit(engine, 5, MIXED[1])
    admit(engine, 2, Request(1, 12, 20, "dpmpp_2m", 3.0))
    admit(engine, 3, Request(0, 11, 20, "dpmpp_2m", 3.0))
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
    request = Request(1, 3, 8, sampler, guidance)
    (image,) = run(engine, [request])
    manifest = tiny_bundle.manifest
    table = table_for(
        manifest.process, manifest.sampling, sampler=sampler, steps=8, guidance=guidance
    )
    predictor = NoisePredictor(tiny_bundle.network, manifest.process)
    x = sample(
        lambda x, t: predictor(x, t, torch.full((len(x),), 1)),
        table,
        initial_noise([3], (12, 8, 8)),
        unconditional=lambda x, t: predictor(x, t, torch.full((len(x),), 3)),
        threshold=lambda m: m.clamp(-1, 1),
    )
    expected = (PixelCodec(manifest.process.codec).decode(x)[0] + 1) * 127.5
    error = torch.from_numpy(image).permute(2, 0, 1) - expected
    assert error.abs().max() < 0.51  # half a level of rounding, and float32 in another order


def test_rows_without_guidance_cost_one_evaluation(engine):
    engine._row_counts = tuple(range(1, 9))  # no padding, so that calls show what was asked for
    calls = []
    network = engine._predictor.network
    handle = network.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    for slot, guidance in enumerate((1.0, 1.0, 1.0, 2.0)):
        admit(engine, slot, Request(0, slot, 1, "ddim", guidance))
    engine.step([0, 1, 2, 3])
    handle.remove()
    assert calls == [5]
    assert engine.plan(steps=2, sampler="ddim", guidance=1.0) == [1, 1]
    assert engine.plan(steps=2, sampler="ddim", guidance=2.0) == [2, 2]


def test_a_released_slot_can_be_used_again(engine):
    admit(engine, 0, MIXED[2])
    engine.step([0])
    engine.release(0)
    engine.release(0)
    (again,) = run(engine, [MIXED[0]])
    (fresh,) = run(engine, [MIXED[0]])
    np.testing.assert_array_equal(again, fresh)


def test_where_row_counts_disagree_every_call_has_the_same_one(tiny_bundle, monkeypatch):
    monkeypatch.setattr(EagerEngine, "_agreeing_row_counts", lambda _: (8,))
    engine = EagerEngine(tiny_bundle, capacity=6, device=torch.device("cpu"))
    calls = []
    hook = engine._predictor.network.register_forward_pre_hook(
        lambda _, inputs: calls.append(len(inputs[0]))
    )
    together = run(engine, MIXED)
    hook.remove()
    assert set(calls) == {8}
    np.testing.assert_array_equal(together[4], run(engine, [MIXED[4]])[0])


@pytest.mark.parametrize(
    ("steps", "sampler", "named"), [(5, "euler", "sampler: got 'euler'"), (0, "ddim", "steps")]
)
def test_a_plan_that_does_not_exist_is_refused(engine, steps, sampler, named):
    with pytest.raises(ValueError, match=named):
        engine.plan(steps=steps, sampler=sampler, guidance=1.0)


def test_the_card_says_what_can_be_asked(engine):
    card = engine.card
    assert card["sizes"] == [16]
    assert [entry["name"] for entry in card["classes"]] == ["a", "b", "c"]
    assert set(card["samplers"]) == set(SAMPLERS)


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="checks the refusal on a machine without CUDA"
)
def test_an_absent_device_is_refused(tmp_path):
    with pytest.raises(DeviceAbsent, match="cuda"):
        build_engine(tmp_path, device="cuda", capacity=1)
