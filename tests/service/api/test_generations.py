"""The OpenAI Images route, called in this process."""

import asyncio
import base64
import io

import pytest
from PIL import Image

from service.images import read_provenance
from service.queue.jobs import JobStatus

URL = "/v1/images/generations"


async def _generate(client, **body):
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def _refused(client, status, **body):
    response = await client.post(URL, json=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


async def test_a_prompt_that_names_a_class_gives_its_image(client, drawer):
    answer = await _generate(client, prompt="a tiger face", seed=7)
    (image,) = answer["data"]
    png = base64.b64decode(image["b64_json"])
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert read_provenance(png).seed == 7
    assert image["seed"] == 7
    assert image["revised_prompt"] == "tiger face"
    assert "url" not in image
    assert answer["output_format"] == "png"
    assert answer["size"] == "32x32"


async def test_the_answer_says_what_was_drawn_with_every_default(client, drawer, card):
    answer = await _generate(client, class_label=1, seed=3)
    assert answer["parameters"] == {
        "model": card.id,
        "class_label": 1,
        "class_name": "cat face",
        "n": 1,
        "seed": 3,
        "steps": 20,
        "sampler": "dpmpp_2m",
        "guidance": 1.5,
        "size": "32x32",
        "output_format": "png",
    }
    job = (await client.get(f"/v1/jobs/{answer['job_id']}")).json()
    assert job["status"] == "succeeded"
    assert answer["created"] == int(job["created_at"])


async def test_each_of_n_images_has_the_next_seed(client, drawer):
    answer = await _generate(client, prompt="cat face", n=3, seed=41)
    assert [image["seed"] for image in answer["data"]] == [41, 42, 43]
    pngs = [base64.b64decode(image["b64_json"]) for image in answer["data"]]
    assert [read_provenance(png).seed for png in pngs] == [41, 42, 43]


async def test_a_seed_is_drawn_and_returned_where_none_is_given(client, drawer):
    first = await _generate(client, prompt="cat face")
    second = await _generate(client, prompt="cat face")
    assert first["data"][0]["seed"] != second["data"][0]["seed"]


@pytest.mark.parametrize(("output_format", "kind"), [("webp", "WEBP"), ("jpeg", "JPEG")])
async def test_lossy_formats_keep_the_provenance(client, drawer, output_format, kind):
    answer = await _generate(
        client, prompt="tiger", seed=5, output_format=output_format, output_compression=40
    )
    data = base64.b64decode(answer["data"][0]["b64_json"])
    assert Image.open(io.BytesIO(data)).format == kind
    assert read_provenance(data).class_name == "tiger face"
    assert answer["output_format"] == output_format


async def test_urls_lead_to_the_images_in_the_format_asked_for(client, drawer):
    answer = await _generate(
        client, prompt="tiger", n=2, response_format="url", output_format="webp"
    )
    assert all("b64_json" not in image for image in answer["data"])
    for image in answer["data"]:
        fetched = await client.get(image["url"])
        assert fetched.headers["content-type"] == "image/webp"
        assert read_provenance(fetched.content).seed == image["seed"]


async def test_openais_harmless_fields_are_accepted_and_null_is_absence(client, drawer):
    harmless = {
        "background": "auto",
        "moderation": "low",
        "quality": "hd",
        "style": "vivid",
        "user": "u-1",
        "safety_identifier": "s-1",
        "complexity": "low",
        "stream": False,
        "partial_images": 0,
        "svg": None,
        "n": None,
        "size": "auto",
        "model": None,
    }
    answer = await _generate(client, prompt="the cat face", **harmless)
    assert len(answer["data"]) == 1


async def test_an_empty_prompt_leaves_the_choice_to_class_label(client, drawer):
    answer = await _generate(client, prompt="", class_label="TIGER  face")
    assert answer["parameters"]["class_label"] == 0


async def test_streaming_is_refused_with_the_way_to_progress(client, served):
    error = await _refused(client, 422, prompt="tiger", stream=True)
    assert error["param"] == "stream"
    assert "/v1/jobs" in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == "invalid_field"


async def test_an_unknown_model_is_openais_model_not_found(client, served, card):
    error = await _refused(client, 404, prompt="tiger", model="gpt-image-1")
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert card.id in error["message"]


async def test_a_model_whose_workers_are_gone_is_503_with_retry_after(client, served, card):
    await served.withdraw("idle")
    response = await client.post(URL, json={"prompt": "tiger", "model": card.id})
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["code"] == "model_unserved"
    assert response.json()["error"]["type"] == "server_error"


async def test_a_full_queue_is_429_with_retry_after(make_client, served):
    client = await make_client(queue_limit=1)
    await client.post("/v1/jobs", json={"prompt": "tiger"})
    response = await client.post(URL, json={"prompt": "tiger"})
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert response.json()["error"]["code"] == "queue_full"


async def test_a_wait_that_is_too_long_is_504_and_the_job_is_cancelled(make_client, drawer):
    drawer.may_draw.clear()
    client = await make_client(request_timeout_s=0.05)
    error = await _refused(client, 504, prompt="tiger")
    assert error["code"] == "wait_timed_out"
    job = await drawer.claimed.get()
    assert (await client.get(f"/v1/jobs/{job.id}")).json()["status"] == "cancelled"


async def test_a_job_that_nobody_waits_for_any_more_expires_by_itself(make_client, drawer):
    drawer.may_draw.clear()
    client = await make_client(request_timeout_s=30)
    waiting = asyncio.create_task(client.post(URL, json={"prompt": "tiger"}))
    job = await drawer.claimed.get()
    assert job.deadline_at == pytest.approx(job.created_at + 30, abs=0.1)
    drawer.may_draw.set()
    assert (await waiting).status_code == 200


async def _post_while(client, drawer, act, status):
    """The error that a caller gets who waits while something happens to the claimed job."""
    drawer.may_draw.clear()
    waiting = asyncio.create_task(_refused(client, status, prompt="tiger"))
    await act(await drawer.claimed.get())
    return await waiting


async def test_a_job_that_fails_is_500_with_its_reason(client, drawer):
    async def fail(job):
        await drawer.leases.fail(job, "the engine caught fire")

    error = await _post_while(client, drawer, fail, 500)
    assert error["code"] == "job_failed"
    assert "caught fire" in error["message"]


async def test_a_job_that_somebody_cancels_is_409(client, drawer):
    async def cancel(job):
        await client.delete(f"/v1/jobs/{job.id}")

    error = await _post_while(client, drawer, cancel, 409)
    assert error["code"] == "job_cancelled"


async def test_an_application_that_stops_cancels_what_its_callers_wait_for(client, drawer):
    drawer.may_draw.clear()
    waiting = asyncio.create_task(client.post(URL, json={"prompt": "tiger"}))
    job = await drawer.claimed.get()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    seen = (await client.get(f"/v1/jobs/{job.id}")).json()
    assert seen["status"] == JobStatus.CANCELLED


@pytest.mark.slow
async def test_a_hundred_requests_at_once_each_get_their_own_image(client, drawer):
    answers = await asyncio.gather(
        *(_generate(client, prompt="tiger", seed=1000 + i) for i in range(100))
    )
    seeds = [
        read_provenance(base64.b64decode(answer["data"][0]["b64_json"])).seed for answer in answers
    ]
    assert seeds == [1000 + i for i in range(100)]
