"""The engine on a layered model: slots of all sizes side by side, and previews that are real."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from export.runtime.eager import EagerEngine
from export.runtime.rows import Pace
from model.sampling.images import ImageRequest, generate
from model.sampling.painter import to_levels
from model.sampling.samplers import SAMPLERS

LONG = "the cat that sat on the mat ate the rat"


def request(prompt, seed, steps, sampler, guidance, size):
    return ImageRequest(
        condition=prompt, seed=seed, steps=steps, sampler=sampler, guidance=guidance, size=size
    )


MIXED = [
    request("red apple", 11, 4, "dpmpp_2m", 1.0, 32),
    request("", 11, 7, "dpmpp_2m", 3.0, 8),
    request("red apple", 5, 9, "dpmpp_3s", 1.5, 16),
    request("a dog", 6, 3, "ddim", 3.0, 32),
    request(LONG, 7, 5, "dpmpp_2s", 1.0, 16),
    request("¿qué? 🙂", 8, 6, "dpmpp_3m", 0.0, 32),
    request("a dog", 6, 3, "ddim", 3.0, 8),
]


@pytest.fixture(scope="module")
def shared(layered_bundle):
    return EagerEngine(layered_bundle, capacity=7, device=torch.device("cpu"))


@pytest.fixture
def engine(shared):
    """All slots are free."""
    yield shared
    for slot in range(shared.capacity):
        shared.release(slot)


@pytest.fixture
def calls(layered_bundle):
    """(scales, rows) of each network call."""
    found = []
    hook = layered_bundle.network.register_forward_pre_hook(
        lambda _, inputs: found.append((len(inputs[0]), len(inputs[0][0])))
    )
    yield found
    hook.remove()


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


@pytest.mark.parametrize("every", [1, 2])
def test_an_image_is_bit_equal_alone_and_among_unlike_neighbours(engine, every):
    together = run(engine, MIXED, every=every)
    for wanted, image in zip(MIXED, together, strict=True):
        assert image.shape == (wanted.size, wanted.size, 3)
        (alone,) = run(engine, [wanted])
        np.testing.assert_array_equal(image, alone)


def test_an_image_is_bit_equal_among_any_number_of_neighbours(engine):
    (alone,) = run(engine, [MIXED[3]])
    for neighbours in range(1, engine.capacity):
        *_, image = run(engine, [MIXED[2]] * (neighbours // 2) + [MIXED[3]] * neighbours)
        np.testing.assert_array_equal(image, alone)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("size", [8, 16, 32])
def test_the_engine_draws_what_the_reference_draws(engine, layered_bundle, sampler, guidance, size):
    wanted = request("red apple", 3, 4, sampler, guidance, size)
    (image,) = run(engine, [wanted])
    (expected,) = generate(layered_bundle, [wanted], batch=1)
    assert np.abs(image.astype(int) - expected).max() <= 1
    assert expected.std() > 20


def test_a_small_image_computes_the_low_scales_alone(engine, calls):
    run(engine, [request("red apple", 1, 3, "ddim", 1.0, 16)])
    assert {scales for scales, _ in calls} == {2}
    assert len(calls) == 3


def test_a_step_takes_one_call_for_each_size_that_is_there(engine, calls, monkeypatch):
    monkeypatch.setattr(engine._network, "_paces", [Pace(tuple(range(1, 9)), 1.0)] * 3)
    for slot, (size, guidance) in enumerate([(32, 1.0), (8, 2.0), (32, 2.0), (8, 1.0), (16, 1.0)]):
        admit(engine, slot, request("red apple", slot, 2, "ddim", guidance, size))
    engine.step([0, 1, 2, 3, 4])
    assert sorted(calls) == [(1, 3), (2, 1), (3, 3)]


def test_previews_are_the_low_scales_data_predictions(engine, layered_bundle):
    wanted = request("red apple", 3, 5, "dpmpp_2m", 2.0, 32)
    predictions = []
    list(
        generate(
            layered_bundle,
            [wanted],
            batch=1,
            on_step=lambda _calls, _states, data: predictions.append(data[0]),
        )
    )
    admit(engine, 2, wanted)
    assert engine.preview(2) is None
    seen = []
    for data in predictions:
        engine.step([2])
        preview = engine.preview(2)()
        assert preview.shape == (8, 8, 3)
        assert np.abs(preview.astype(int) - to_levels(data)[0]).max() <= 1
        seen.append(preview)
    assert all((before != after).any() for before, after in pairwise(seen))


def test_the_last_preview_is_the_small_image_of_the_same_seed(engine):
    wanted = request("a dog", 6, 4, "dpmpp_3m", 3.0, 32)
    admit(engine, 0, wanted)
    while not engine.step([0]):
        pass
    shown = engine.preview(0)
    (small,) = run(engine, [dataclasses.replace(wanted, size=8)])
    assert np.abs(shown().astype(int) - small).max() <= 1


def test_prompts_seeds_and_sizes_matter_and_the_slot_does_not(engine):
    wanted = request("red apple", 5, 4, "dpmpp_2m", 2.0, 32)
    same, again, other_prompt, other_seed = run(
        engine,
        [
            wanted,
            wanted,
            dataclasses.replace(wanted, condition="a dog"),
            dataclasses.replace(wanted, seed=6),
        ],
    )
    np.testing.assert_array_equal(same, again)
    assert (same != other_prompt).any()
    assert (same != other_seed).any()


def test_words_that_are_cut_off_have_no_effect_and_are_mentioned(engine):
    longer = LONG + " and the bat"
    wanted = request(LONG, 5, 3, "ddim", 2.0, 16)
    image, same = run(engine, [wanted, dataclasses.replace(wanted, condition=longer)])
    np.testing.assert_array_equal(image, same)
    assert engine.notice("red apple") is None
    assert "the model reads the first 6" in engine.notice(longer)


def test_an_empty_prompt_makes_guidance_idle(engine):
    plain = request("", 5, 3, "ddim", 1.0, 16)
    image, guided = run(engine, [plain, dataclasses.replace(plain, guidance=4.0)])
    assert np.abs(image.astype(int) - guided).max() <= 1


def test_a_released_slot_can_be_used_at_another_size(engine, layered_bundle):
    admit(engine, 0, MIXED[2])
    engine.step([0])
    engine.release(0)
    engine.release(0)
    (again,) = run(engine, [MIXED[0]])
    (fresh,) = run(EagerEngine(layered_bundle, capacity=1, device=torch.device("cpu")), [MIXED[0]])
    np.testing.assert_array_equal(again, fresh)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"condition": 3}, "label: got 3; allowed: a prompt"),
        ({"seed": 2**63}, "seed: got"),
        ({"size": 64}, "size: got 64; allowed: 8 or 16 or 32"),
        ({"sampler": "euler"}, "sampler: got 'euler'"),
        ({"steps": 0}, "steps: got 0"),
    ],
)
def test_what_the_model_cannot_draw_leaves_the_slot_as_it_was(engine, changes, named):
    with pytest.raises(ValueError, match=named):
        admit(engine, 0, dataclasses.replace(MIXED[0], **changes))
    with pytest.raises(AssertionError, match="slot 0 is free"):
        engine.preview(0)


def test_a_plan_counts_rows_at_every_size(engine):
    for size in (8, 16, 32):
        assert engine.plan(steps=3, sampler="dpmpp_2m", guidance=2.0, size=size) == [2, 2, 2]
    with pytest.raises(ValueError, match="size: got 64"):
        engine.plan(steps=3, sampler="dpmpp_2m", guidance=2.0, size=64)


def test_the_card_says_what_can_be_asked(engine):
    card = engine.card
    assert card["kind"] == "layered"
    assert card["conditioning"] == ["prompt"]
    assert card["classes"] == []
    assert card["sizes"] == [8, 16, 32]
    assert card["defaults"]["size"] == 32
    assert card["previews"] is True
    facts = card["engine"]
    assert list(card["row_costs"]) == [8, 16, 32]
    assert 0 < card["row_costs"][8] < card["row_costs"][32] == 1
    assert engine.rows_per_s == pytest.approx(1e3 / facts["row_ms"], rel=0.01)


def test_a_model_of_classes_and_one_of_prompts_step_in_turn(engine, tiny_bundle):
    of_classes = EagerEngine(tiny_bundle, capacity=2, device=torch.device("cpu"))
    labelled = request(1, 3, 4, "dpmpp_2m", 2.0, 16)
    expected = run(of_classes, [labelled]) + run(engine, [MIXED[0]])
    admit(of_classes, 1, labelled)
    admit(engine, 1, MIXED[0])
    for _ in range(4):
        finished = [of_classes.step([1]), engine.step([1])]
    assert finished == [[1], [1]]
    np.testing.assert_array_equal(of_classes.take(1), expected[0])
    np.testing.assert_array_equal(engine.take(1), expected[1])
