"""Probes, metrics, and life without Redis."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.queue.connection import connect


@pytest.fixture
async def lonely_client(make_app):
    """A client of an application whose Redis is away."""
    redis = connect("redis://127.0.0.1:1")
    transport = httpx.ASGITransport(await make_app(on=redis), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client
    await redis.aclose()


async def _samples(client):
    """Values of /metrics by name and labels."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_a_live_process_says_so(client):
    assert (await client.get("/health/live")).json() == {"status": "live"}


async def test_ready_names_the_models(client, served, card):
    response = await client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "models": [card.id]}


async def test_without_workers_it_is_not_ready(client):
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["reasons"] == ["no live worker serves any model"]
    assert int(response.headers["retry-after"]) >= 1


async def test_without_redis_it_lives_but_is_not_ready(lonely_client):
    assert (await lonely_client.get("/health/live")).status_code == 200
    response = await lonely_client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["reasons"] == ["Redis does not answer"]


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/jobs/some-job"),
        ("DELETE", "/v1/jobs/some-job"),
        ("GET", "/v1/jobs/some-job/images/0"),
        ("POST", "/v1/jobs"),
        ("POST", "/v1/images/generations"),
    ],
)
async def test_without_redis_routes_are_503_with_retry_after(lonely_client, method, url):
    body = {"prompt": "tiger"} if method == "POST" else None
    response = await lonely_client.request(method, url, json=body)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in response.text


async def test_metrics_are_readable_without_redis(lonely_client):
    assert (await _samples(lonely_client))[("dimr_ready",)] == 0


async def test_gauges_of_the_queue_are_read_when_scraped(client, drawer, card):
    drawer.may_draw.clear()
    await client.post("/v1/jobs", json={"prompt": "tiger"})
    await drawer.claimed.get()
    for _ in range(2):
        body = {"prompt": "tiger", "steps": 10, "guidance": 2, "priority": "low"}
        await client.post("/v1/jobs", json=body)
    samples = await _samples(client)
    assert samples["dimr_ready",] == 1
    assert samples["dimr_queue_depth", card.id, "low"] == 2
    assert samples["dimr_queue_depth", card.id, "high"] == 0
    assert samples["dimr_backlog_steps", card.id] == 40
    assert samples["dimr_inflight", card.id] == 1
    assert samples["dimr_oldest_wait_seconds", card.id] >= 0


async def test_refusals_and_cancellations_are_counted_once(make_client, served, card):
    client = await make_client(queue_limit=1)
    job = (await client.post("/v1/jobs", json={"prompt": "tiger"})).json()
    await client.post("/v1/jobs", json={"prompt": "tiger"})
    await client.post("/v1/jobs", json={"prompt": "dragon"})
    for _ in range(3):
        await client.delete(f"/v1/jobs/{job['id']}")
    samples = await _samples(client)
    for outcome in ("rejected_full", "invalid", "cancelled"):
        assert samples["dimr_requests_total", card.id, outcome] == 1
