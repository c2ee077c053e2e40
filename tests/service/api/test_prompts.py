"""A model of prompts beside one of classes, called in this process."""

import asyncio
import base64

import openai
import pytest

from service.images import read_provenance

JOBS = "/v1/jobs"
GENERATIONS = "/v1/images/generations"


async def test_a_prompt_alone_goes_to_the_model_that_draws_prompts(
    client, prompt_drawer, prompt_card
):
    answer = (await client.post(GENERATIONS, json={"prompt": "a dragon", "seed": 7})).json()
    (image,) = answer["data"]
    drawn = read_provenance(base64.b64decode(image["b64_json"]))
    assert (drawn.prompt, drawn.class_name, drawn.label) == ("a dragon", None, None)
    assert (drawn.model, drawn.seed) == (prompt_card.id, 7)
    assert image["revised_prompt"] == "a dragon"
    assert (answer["size"], answer["warnings"]) == ("64x64", [])
    assert answer["parameters"]["prompt"] == "a dragon"
    assert "class_label" not in answer["parameters"]


async def test_a_class_label_alone_goes_to_the_model_that_has_the_class(
    client, drawer, both_served, card
):
    answer = (await client.post(GENERATIONS, json={"class_label": "tiger face"})).json()
    assert answer["parameters"]["model"] == card.id
    assert answer["data"][0]["revised_prompt"] == "tiger face"


async def test_a_class_label_that_only_a_model_of_prompts_could_take_is_refused(
    client, both_served, prompt_card
):
    await both_served.withdraw("idle")
    for body in ({}, {"model": prompt_card.id}):
        response = await client.post(JOBS, json={"class_label": "tiger face", **body})
        assert response.status_code == 422
        (error,) = response.json()["errors"]
        assert error["field"] == "class_label"
        assert error["allowed"] == "none, text-test draws from a prompt"


async def test_a_size_picks_the_scale(client, prompt_drawer):
    body = {"prompt": "a dragon", "size": "16x16", "seed": 2**20}
    answer = (await client.post(GENERATIONS, json=body)).json()
    assert answer["size"] == "16x16"


async def test_nothing_at_all_is_an_unconditional_image(client, both_served, prompt_card):
    job = (await client.post(JOBS, json={})).json()
    assert (job["model"], job["parameters"]["prompt"]) == (prompt_card.id, "")
    assert (job["parameters"]["class_label"], job["parameters"]["class_name"]) == (None, None)


async def test_the_cost_is_that_of_other_models(client, both_served):
    job = (await client.post(JOBS, json={"prompt": "a dragon", "n": 2, "steps": 10})).json()
    assert job["cost"] == 2 * 10 * 2


async def test_what_the_worker_warns_of_is_part_of_both_answers(client, prompt_drawer):
    prompt_drawer.may_draw.clear()
    waiting = asyncio.create_task(client.post(GENERATIONS, json={"prompt": "a long story"}))
    job = await prompt_drawer.claimed.get()
    await prompt_drawer.leases.warn(job, ["prompt: has 41 tokens, „16“ are read"])
    seen = (await client.get(f"{JOBS}/{job.id}")).json()
    prompt_drawer.may_draw.set()
    answer = (await waiting).json()
    assert seen["warnings"] == answer["warnings"] == ["prompt: has 41 tokens, „16“ are read"]


async def test_the_public_client_needs_a_prompt_only(server_url, prompt_drawer):
    async with openai.AsyncOpenAI(base_url=f"{server_url}/v1", api_key="unused") as client:
        answer = await client.images.generate(prompt="a dragon", size="auto")
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            await client.images.generate(prompt="a dragon", size="512x512")
    assert [image.revised_prompt for image in answer.data or []] == ["a dragon"]
    assert refused.value.param == "size"
