"""The public `openai` client against a real server, and clients that leave."""

import asyncio
import base64

import httpx
import openai
import pytest

from service.images import read_provenance
from service.queue.forecast import Forecast
from service.queue.jobs import JobStatus
from service.queue.leases import Leases
from service.queue.signals import Wakeups
from service.queue.store import JobQueue


@pytest.fixture
async def make_openai():
    clients = []

    def make(url):
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


async def test_it_generates_with_extra_fields(make_openai, server_url, drawer, card):
    answer = await make_openai(server_url).images.generate(
        model=card.id,
        prompt="a tiger face",
        n=2,
        size="auto",
        quality="high",
        output_format="webp",
        output_compression=80,
        extra_body={"seed": 11, "steps": 5, "guidance": 3, "sampler": "ddim"},
    )
    assert answer.output_format == "webp"
    assert answer.size == "32x32"
    seen = [read_provenance(base64.b64decode(image.b64_json)) for image in answer.data]
    assert [provenance.seed for provenance in seen] == [11, 12]
    assert (seen[0].steps, seen[0].guidance, seen[0].sampler) == (5, 3, "ddim")
    assert answer.data[0].revised_prompt == "tiger face"
    assert answer.job_id


async def test_it_takes_a_class_label_and_gives_urls(make_openai, server_url, drawer):
    answer = await make_openai(server_url).images.generate(
        prompt="", response_format="url", extra_body={"class_label": "cat face"}
    )
    async with httpx.AsyncClient() as browser:
        fetched = await browser.get(answer.data[0].url)
    assert read_provenance(fetched.content).class_name == "cat face"


async def test_it_lists_models(make_openai, server_url, served, card):
    client = make_openai(server_url)
    (model,) = [model async for model in client.models.list()]
    assert (model.id, model.conditioning) == (card.id, ["class"])
    assert (await client.models.retrieve(card.id)).owned_by == "dimr-serve"


async def test_it_understands_the_errors(make_openai, make_server, served):
    client = make_openai(await make_server(queue_limit=1, request_timeout_s=0.05))
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        await client.images.generate(prompt="a dragon")
    assert refused.value.param == "prompt"
    assert refused.value.code == "invalid_field"
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.images.generate(prompt="tiger", model="gpt-image-1")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.APIStatusError) as late:
        await client.images.generate(prompt="tiger")
    assert late.value.status_code == 504
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-image-1")


async def test_a_client_that_leaves_cancels_its_running_job(server_url, drawer, redis):
    drawer.may_draw.clear()
    async with httpx.AsyncClient(base_url=server_url) as client:
        asking = asyncio.create_task(
            client.post("/v1/images/generations", json={"prompt": "tiger"})
        )
        job = await drawer.claimed.get()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    async with JobQueue(redis) as queue:
        assert (await queue.wait(job.id, 20)).status is JobStatus.CANCELLED


async def test_a_client_that_leaves_cancels_its_queued_job(server_url, served, redis, card):
    async with Wakeups(redis) as wakeups, httpx.AsyncClient(base_url=server_url) as client:
        await wakeups.wait_for_work(0)
        asking = asyncio.create_task(
            client.post("/v1/images/generations", json={"prompt": "tiger"})
        )
        while (await Forecast(redis).backlog(card.id)).queued == 0:
            await wakeups.wait_for_work(1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        while (await Forecast(redis).backlog(card.id)).queued == 1:
            await wakeups.wait_for_work(0.05)
    assert await Leases(redis, "late").claim([card.id]) is None


async def test_a_client_that_leaves_a_submitted_job_leaves_it_running(server_url, drawer, redis):
    drawer.may_draw.clear()
    async with httpx.AsyncClient(base_url=server_url) as client:
        asking = asyncio.create_task(
            client.post("/v1/jobs", json={"prompt": "tiger"}, headers={"Prefer": "wait=30"})
        )
        job = await drawer.claimed.get()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    drawer.may_draw.set()
    async with JobQueue(redis) as queue:
        assert (await queue.wait(job.id, 20)).status is JobStatus.SUCCEEDED


@pytest.mark.slow
async def test_a_hundred_clients_at_once_are_all_served(server_url, drawer):
    async with httpx.AsyncClient(base_url=server_url, timeout=30) as client:
        responses = await asyncio.gather(
            *(
                client.post("/v1/images/generations", json={"prompt": "tiger", "seed": seed})
                for seed in range(100)
            )
        )
    assert [response.status_code for response in responses] == [200] * 100
    assert [response.json()["data"][0]["seed"] for response in responses] == list(range(100))


@pytest.mark.parametrize("size", [2_000, 3_000_000])
async def test_a_body_that_is_too_large_is_refused_in_words(make_server, served, size):
    url = await make_server(max_body_bytes=1024)

    async def stream():
        for _ in range(size // 1000):
            yield b" " * 1000

    headers = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=url) as client:
        for content in (b" " * size, stream()):
            response = await client.post("/v1/jobs", content=content, headers=headers)
            assert response.status_code == 413
            assert response.json()["type"] == "urn:dimr:problem:body-too-large"
        assert (await client.get("/health/live")).status_code == 200
