"""From a layered bundle and prompts to images of any of its scales."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from model.diffusion.errors import ParameterRejected
from model.sampling.images import ImageRequest, generate, network_rows

BASE = ImageRequest(condition="red apple", seed=7, steps=4, sampler="dpmpp_2m", guidance=6.0)


def request(**changes):
    return dataclasses.replace(BASE, **changes)


def images_of(bundle, *requests, batch=8, on_call=None, on_step=None):
    made = generate(bundle, requests, batch=batch, on_call=on_call, on_step=on_step)
    return list(made)


def steps_of(bundle, asked):
    """States and data predictions of every scale after each call."""
    seen = []
    images_of(bundle, asked, on_step=lambda calls, xs, predictions: seen.append((xs, predictions)))
    return seen


@pytest.mark.parametrize(("size", "side"), [(8, 8), (16, 16), (32, 32), (None, 32)])
def test_an_image_has_the_side_that_was_asked_for(layered_bundle, size, side):
    (image,) = images_of(layered_bundle, request(size=size))
    assert image.dtype == np.uint8
    assert image.shape == (side, side, 3)


def test_the_same_request_gives_the_same_image(layered_bundle):
    first, second = images_of(layered_bundle, BASE), images_of(layered_bundle, BASE)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "changes",
    [
        {"condition": "a sad owl"},
        {"condition": ""},
        {"seed": 8},
        {"steps": 5},
        {"sampler": "dpmpp_3s"},
        {"guidance": 1.0},
    ],
    ids=str,
)
def test_every_part_of_a_request_matters(layered_bundle, changes):
    plain, changed = images_of(layered_bundle, BASE, request(**changes))
    assert np.abs(plain.astype(int) - changed).max() > 2


def test_an_empty_prompt_is_an_unconditional_image(layered_bundle):
    plain, guided = images_of(
        layered_bundle,
        request(condition="", guidance=1.0),
        request(condition="", guidance=6.0),
    )
    assert np.abs(plain.astype(int) - guided).max() <= 1


def test_neighbours_change_an_image_by_rounding_at_most(layered_bundle):
    wanted = ["star", "", "red apple", "an owl that was cut off after eight tokens or so"]
    requests = [request(condition=prompt, seed=k) for k, prompt in enumerate(wanted)]
    together = np.stack(images_of(layered_bundle, *requests, batch=4)).astype(int)
    alone = np.stack(images_of(layered_bundle, *requests, batch=1))
    assert np.abs(together - alone).max() <= 1


def test_sizes_come_in_the_order_of_requests_and_share_no_batch(layered_bundle):
    sizes = [32, 8, 8, 16, 8]
    rows: list[int] = []
    requests = [request(size=size, guidance=1.0) for size in sizes]
    images = images_of(layered_bundle, *requests, on_call=rows.append)
    assert [len(image) for image in images] == sizes
    assert rows == [1] * 4 + [2] * 4 + [1] * 4 + [1] * 4
    assert sum(rows) == network_rows(layered_bundle, requests)


@pytest.mark.parametrize("scales", [1, 2])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_lower_size_is_the_scale_that_the_full_image_is_built_on(
    layered_bundle, scales, guidance
):
    whole = steps_of(layered_bundle, request(guidance=guidance))
    small = steps_of(layered_bundle, request(guidance=guidance, size=(8, 16)[scales - 1]))
    assert len(whole) == len(small) == 4
    for (states, predictions), (own_states, own_predictions) in zip(whole, small, strict=True):
        assert len(own_states) == len(own_predictions) == scales
        for all_scales, own in ((states, own_states), (predictions, own_predictions)):
            for among, alone in zip(all_scales, own, strict=False):
                assert_close(alone, among, rtol=0, atol=0)


def test_a_lower_size_costs_the_lower_scales_alone(layered_bundle):
    network, shapes, entered = layered_bundle.network, [], []
    network.register_forward_pre_hook(
        lambda _, args: shapes.append([tuple(z.shape) for z in args[0]])
    )
    for index, level in enumerate(network.outer):
        level.register_forward_pre_hook(lambda *_, index=index: entered.append(index))
    images_of(layered_bundle, request(size=8, guidance=1.0))
    assert shapes == [[(1, 3, 8, 8)]] * 4
    assert entered == []
    images_of(layered_bundle, request(size=16, steps=1, guidance=1.0))
    assert shapes[4:] == [[(1, 3, 8, 8), (1, 3, 16, 16)]]
    assert entered == [0]


def test_every_call_denoises_all_scales_at_once(layered_bundle):
    calls = []
    layered_bundle.network.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    images_of(layered_bundle, request(guidance=1.0))
    assert calls == [3] * 4


def test_predictions_of_every_scale_are_clamped(layered_bundle):
    for _, predictions in steps_of(layered_bundle, request(guidance=20.0)):
        assert all(prediction.abs().max() <= 1 for prediction in predictions)


def test_the_image_is_the_last_state_of_the_highest_scale(layered_bundle):
    (states, _) = steps_of(layered_bundle, BASE)[-1]
    (image,) = images_of(layered_bundle, BASE)
    levels = (states[-1][0].clamp(-1, 1).add(1).mul(127.5)).round().permute(1, 2, 0)
    assert_close(torch.from_numpy(image).float(), levels, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"condition": 3}, "label: got 3; allowed: a prompt"),
        ({"size": 64}, "size: got 64; allowed: 8 or 16 or 32"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_what_the_model_cannot_make_is_refused_before_any_work(layered_bundle, changes, named):
    with pytest.raises(ParameterRejected, match=named):
        generate(layered_bundle, [BASE, request(**changes)], batch=8)
