"""The asynchronous life of a job, called in this process."""

import asyncio

import pytest

JOBS = "/v1/jobs"


async def _submit(client, headers=None, **body):
    body = body or {"prompt": "tiger"}
    response = await client.post(JOBS, json=body, headers=headers)
    assert response.status_code in (200, 202), response.text
    return response


async def test_a_job_is_accepted_with_its_address(client, served):
    response = await _submit(client, prompt="a cat face", n=2, seed=9, priority="high")
    assert response.status_code == 202
    job = response.json()
    assert job["status"] == "queued"
    assert job["priority"] == "high"
    assert job["images"] == []
    assert job["progress"] == 0
    assert job["parameters"]["class_name"] == "cat face"
    assert response.headers["location"] == f"http://api.test/v1/jobs/{job['id']}"
    assert (await client.get(response.headers["location"])).json()["id"] == job["id"]


async def test_the_cost_counts_guidance_double_and_every_image(client, served):
    plain = (await _submit(client, prompt="tiger", n=3, steps=10, guidance=1)).json()
    guided = (await _submit(client, prompt="tiger", n=3, steps=10, guidance=2)).json()
    assert (plain["cost"], guided["cost"]) == (30, 60)


async def test_position_and_eta_grow_with_the_jobs_ahead(client, served):
    first, second = [(await _submit(client)).json() for _ in range(2)]
    assert (first["position"], second["position"]) == (0, 1)
    assert 0 < first["eta_s"] < second["eta_s"]


async def test_nobody_knows_an_eta_without_workers(client, served):
    job = (await _submit(client)).json()
    await served.withdraw("idle")
    assert (await client.get(f"{JOBS}/{job['id']}")).json()["eta_s"] is None


async def test_progress_follows_the_worker(client, drawer):
    drawer.may_draw.clear()
    job = (await _submit(client, prompt="tiger", n=2, steps=10)).json()
    claimed = await drawer.claimed.get()
    await drawer.leases.progress(claimed, 5)
    seen = (await client.get(f"{JOBS}/{job['id']}")).json()
    assert seen["status"] == "running"
    assert seen["progress"] == 0.25
    assert seen["position"] is None
    assert seen["started_at"] >= seen["created_at"]


async def test_a_preference_to_wait_gives_the_finished_job(client, drawer):
    response = await _submit(
        client, headers={"Prefer": "wait=20"}, prompt="tiger", n=2, seed=5, deadline_s=30
    )
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=20"
    job = response.json()
    assert job["status"] == "succeeded"
    assert job["progress"] == 1
    assert job["eta_s"] == 0
    assert [(i["index"], i["seed"]) for i in job["images"]] == [(0, 5), (1, 6)]
    assert job["deadline_at"] == pytest.approx(job["created_at"] + 30, abs=0.1)
    assert (await client.get(job["images"][1]["url"])).status_code == 200


async def test_a_wait_ends_with_the_job_as_it_stands(client, drawer):
    drawer.may_draw.clear()
    response = await _submit(client, headers={"Prefer": "respond-async, wait=0"}, prompt="tiger")
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "wait=0"
    assert response.json()["status"] in ("queued", "running")


async def test_a_wait_is_bounded_by_the_service(make_client, served):
    client = await make_client(request_timeout_s=0.5)
    response = await _submit(client, headers={"Prefer": "wait=900"}, prompt="tiger")
    assert response.headers["preference-applied"] == "wait=0"


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "handling=lenient", ""])
async def test_preferences_that_make_no_sense_are_ignored(client, served, prefer):
    response = await _submit(client, headers={"Prefer": prefer}, prompt="tiger")
    assert response.status_code == 202
    assert "preference-applied" not in response.headers


async def test_the_same_key_and_body_give_the_same_job(client, served):
    key = {"Idempotency-Key": "order-17"}
    first = await _submit(client, headers=key, prompt="tiger")
    again = await _submit(client, headers=key, prompt="tiger")
    other = await _submit(client, headers={"Idempotency-Key": "order-18"}, prompt="tiger")
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["parameters"]["seed"] == first.json()["parameters"]["seed"]
    assert other.json()["id"] != first.json()["id"]


async def test_the_same_key_submits_once_however_many_send_it_at_once(client, served):
    key = {"Idempotency-Key": "race"}
    responses = await asyncio.gather(*(_submit(client, headers=key) for _ in range(10)))
    assert len({response.json()["id"] for response in responses}) == 1


async def test_the_same_key_with_another_body_is_409(client, served):
    key = {"Idempotency-Key": "order-17"}
    await _submit(client, headers=key, prompt="tiger")
    response = await client.post(JOBS, json={"prompt": "cat face"}, headers=key)
    assert response.status_code == 409
    assert response.json()["type"] == "urn:dimr:problem:idempotency-clash"


async def test_a_finished_job_comes_back_to_its_key_as_finished(client, drawer):
    key = {"Idempotency-Key": "done"}
    first = await _submit(client, headers={**key, "Prefer": "wait=20"}, prompt="tiger")
    again = await _submit(client, headers=key, prompt="tiger")
    assert again.status_code == 200
    assert again.json() == first.json()


@pytest.mark.parametrize("key", ["", "x" * 256, "two words"])
async def test_keys_that_cannot_be_kept_are_422(client, served, key):
    response = await client.post(JOBS, json={"prompt": "tiger"}, headers={"Idempotency-Key": key})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_a_queued_job_is_cancelled_and_stays_so(client, served):
    job = (await _submit(client)).json()
    first = await client.delete(f"{JOBS}/{job['id']}")
    again = await client.delete(f"{JOBS}/{job['id']}")
    assert first.status_code == again.status_code == 200
    assert first.json()["status"] == "cancelled"
    assert first.json() == again.json()


async def test_a_running_job_is_cancelled_and_its_worker_refused(client, drawer):
    drawer.may_draw.clear()
    await _submit(client)
    claimed = await drawer.claimed.get()
    assert (await client.delete(f"{JOBS}/{claimed.id}")).json()["status"] == "cancelled"
    assert not await drawer.draw(claimed)
    assert (await client.get(f"{JOBS}/{claimed.id}")).json()["status"] == "cancelled"


async def test_a_finished_job_cannot_be_cancelled(client, drawer):
    job = (await _submit(client, headers={"Prefer": "wait=20"}, prompt="tiger")).json()
    assert (await client.delete(f"{JOBS}/{job['id']}")).json() == job


async def test_a_failed_job_says_why(client, drawer):
    drawer.may_draw.clear()
    await _submit(client)
    claimed = await drawer.claimed.get()
    await drawer.leases.fail(claimed, "the engine caught fire")
    job = (await client.get(f"{JOBS}/{claimed.id}")).json()
    assert job["status"] == "failed"
    assert job["error"] == "the engine caught fire"
    assert job["images"] == []


async def test_a_full_queue_is_429_with_retry_after(make_client, served):
    client = await make_client(queue_limit=2)
    statuses = [(await client.post(JOBS, json={"prompt": "tiger"})).status_code for _ in range(2)]
    refused = await client.post(JOBS, json={"prompt": "tiger"})
    assert statuses == [202, 202]
    assert refused.status_code == 429
    assert refused.json()["type"] == "urn:dimr:problem:queue-full"
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize("job_id", ["unknown", "x" * 65, "a:b", "%7Bdimr%7D", "a%20b"])
@pytest.mark.parametrize("path", ["", "/images/0", "/previews/0"])
async def test_what_is_no_job_is_404(client, served, job_id, path):
    response = await client.get(f"{JOBS}/{job_id}{path}")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:dimr:problem:job-not-found"


async def test_cancelling_what_is_no_job_is_404(client, served):
    assert (await client.delete(f"{JOBS}/unknown")).status_code == 404
