"""A model of classes and a layered one of prompts in one worker process, through real processes."""

import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("service")]

MIXED = [
    {"prompt": "red apple", "seed": 1},
    {"class_label": "red apple", "seed": 1, "steps": 15},
    {"prompt": "red apple", "seed": 1, "size": "8x8", "steps": 20},
    {"prompt": "", "seed": 2, "size": "16x16", "guidance": 1.0},
    {"class_label": "panda", "seed": 3, "steps": 20, "guidance": 1.0},
    {"prompt": "green apple", "seed": 1, "n": 2, "steps": 13, "sampler": "ddim"},
]


def draw(service, request):
    answer = httpx.post(f"{service.url}/v1/images/generations", json=request, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pixels(answer):
    images = [base64.b64decode(image["b64_json"]) for image in answer["data"]]
    return [np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in images]


def test_requests_of_both_models_at_once_give_what_each_gives_alone(both):
    with ThreadPoolExecutor(len(MIXED)) as pool:
        together = list(pool.map(lambda request: draw(both, request), MIXED))
    for request, answer in zip(MIXED, together, strict=True):
        for image, alone in zip(pixels(answer), pixels(draw(both, request)), strict=True):
            np.testing.assert_array_equal(image, alone)
    drawn_by = [answer["parameters"]["model"] for answer in together]
    assert [model == "tiny-layered" for model in drawn_by] == ["prompt" in r for r in MIXED]
    assert [pixels(answer)[0].shape[0] for answer in together] == [32, 32, 8, 16, 32, 32]


def test_a_prompt_that_is_cut_off_is_drawn_with_a_warning(both):
    short = draw(both, {"prompt": "a red apple", "seed": 1})
    long = draw(both, {"prompt": "a red apple in a bowl on a table", "seed": 1})
    assert short["warnings"] == []
    (warning,) = long["warnings"]
    assert "the model reads the first 6" in warning


def test_a_running_prompt_shows_its_lowest_scale(both):
    body = {"prompt": "red apple", "steps": 250, "n": 10, "seed": 1}
    job = httpx.post(f"{both.url}/v1/jobs", json=body).json()
    url = f"{both.url}/v1/jobs/{job['id']}"
    deadline = time.monotonic() + 60
    while not job["previews"]:
        assert time.monotonic() < deadline
        assert job["status"] in {"queued", "running"}
        job = httpx.get(url).json()
    preview = httpx.get(job["previews"][0]["url"], headers={"Accept": "image/png"})
    assert preview.status_code == 200
    assert Image.open(io.BytesIO(preview.content)).size == (8, 8)
    assert 1 <= int(preview.headers["x-calls-done"]) < 250
    assert httpx.delete(url).json()["previews"] == []


def test_every_card_says_what_its_model_draws_from(both):
    cards = {card["id"]: card for card in httpx.get(f"{both.url}/v1/models").json()["data"]}
    assert cards["emoji-32"]["conditioning"] == ["class"]
    assert cards["tiny-layered"]["conditioning"] == ["prompt"]
    assert cards["tiny-layered"]["sizes"] == [8, 16, 32]
    assert cards["tiny-layered"]["classes"] == []
    assert (cards["emoji-32"]["previews"], cards["tiny-layered"]["previews"]) == (False, True)
