"""The reference way from a bundle to images."""

import dataclasses

import numpy as np
import pytest
import torch

from model.bundle import load_bundle, write_bundle
from model.denoisers.dimr import DiMR
from model.diffusion.errors import ParameterRejected
from model.sampling.images import ImageRequest, generate, network_rows
from model.sampling.samplers import SamplerUnknown

BASE = ImageRequest(condition=0, seed=7, steps=4, sampler="dpmpp_2m", guidance=6.0)


@pytest.fixture
def bundle(tiny_recipe, tmp_path):
    network = DiMR(tiny_recipe.network)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():  # at the initial point the class has no effect yet
        torch.nn.init.normal_(parameter, 0.1, 0.5, generator=generator)
    folder = write_bundle(tmp_path / "bundle", tiny_recipe, network, "abc", steps=6)
    return load_bundle(folder)


def request(**changes):
    return dataclasses.replace(BASE, **changes)


def images_of(bundle, *requests, batch=8, on_call=None):
    return list(generate(bundle, requests, batch=batch, on_call=on_call))


def test_an_image_is_square_colour_in_bytes(bundle):
    (image,) = images_of(bundle, BASE)
    assert image.dtype == np.uint8
    assert image.shape == (16, 16, 3)


def test_the_same_request_gives_the_same_image(bundle):
    first, second = images_of(bundle, BASE), images_of(bundle, BASE)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "changes",
    [{"condition": 1}, {"seed": 8}, {"steps": 5}, {"sampler": "dpmpp_3s"}, {"guidance": 20.0}],
    ids=str,
)
def test_every_part_of_a_request_matters(bundle, changes):
    plain, changed = images_of(bundle, BASE, request(**changes))
    assert np.abs(plain.astype(int) - changed).max() > 2


def test_neighbours_change_an_image_by_rounding_at_most(bundle):
    requests = [request(condition=k % 3, seed=k) for k in range(5)]
    together = np.stack(images_of(bundle, *requests, batch=5)).astype(int)
    alone = np.stack(images_of(bundle, *requests, batch=1))
    assert np.abs(together - alone).max() <= 1


def test_images_come_in_the_order_of_requests_whatever_shares_a_batch(bundle):
    requests = [
        request(seed=1),
        request(seed=2, steps=3),
        request(seed=3),
        request(seed=4, guidance=1.0),
        request(seed=5, guidance=1.0),
    ]
    together = np.stack(images_of(bundle, *requests, batch=2)).astype(int)
    alone = np.stack([images_of(bundle, each)[0] for each in requests])
    assert np.abs(together - alone).max() <= 1


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 4), (1.5, 8)])
def test_guidance_of_exactly_one_costs_one_row_a_step(bundle, guidance, rows):
    computed: list[int] = []
    told: list[int] = []
    bundle.network.register_forward_pre_hook(lambda _, args: computed.append(len(args[0])))
    asked = request(guidance=guidance)
    images_of(bundle, asked, on_call=told.append)
    assert sum(computed) == sum(told) == network_rows(bundle, [asked]) == rows


def test_progress_counts_the_rows_of_all_batches(bundle):
    requests = [request(seed=1), request(seed=2), request(seed=3, steps=2, guidance=1.0)]
    told: list[int] = []
    images_of(bundle, *requests, batch=2, on_call=told.append)
    assert told == [4, 4, 4, 4, 1, 1]
    assert network_rows(bundle, requests) == 18


def test_no_requests_give_no_images(bundle):
    assert images_of(bundle) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"condition": 3}, "label: got 3; allowed: 0 to 2"),
        ({"condition": -1}, "label: got -1"),
        ({"condition": "fox"}, "prompt: got 'fox'; allowed: a class"),
        ({"size": 8}, "size: got 8; allowed: 16"),
        ({"seed": -1}, "seed: got -1"),
        ({"steps": 0}, "steps: got 0"),
        ({"guidance": -0.5}, "got -0.5"),
    ],
)
def test_a_number_out_of_range_is_refused_before_any_work(bundle, changes, named):
    with pytest.raises(ParameterRejected, match=named):
        generate(bundle, [BASE, request(**changes)], batch=8)


def test_an_unknown_sampler_is_refused_before_any_work(bundle):
    with pytest.raises(SamplerUnknown, match="'euler'"):
        generate(bundle, [request(sampler="euler")], batch=8)


def test_a_batch_holds_at_least_one(bundle):
    with pytest.raises(ParameterRejected, match="batch: got 0"):
        generate(bundle, [BASE], batch=0)
