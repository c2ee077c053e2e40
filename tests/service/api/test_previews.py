"""What a running job looks like by now."""

import io

import numpy as np
import pytest
from PIL import Image

from service.images import encode_png, read_provenance


@pytest.fixture
async def job(client, prompt_drawer):
    """A job of two images that runs; of the first there is a preview after 3 calls."""
    prompt_drawer.may_draw.clear()
    await client.post("/v1/jobs", json={"prompt": "a dragon", "n": 2, "seed": 5})
    running = await prompt_drawer.claimed.get()
    pixels = np.full((16, 16, 3), 200, np.uint8)
    png = encode_png(pixels, running.request, 0, 3)
    assert await prompt_drawer.leases.store_preview(running, 0, 3, png)
    return running


async def test_a_running_job_lists_its_previews_until_it_ends(client, job, prompt_drawer):
    seen = (await client.get(f"/v1/jobs/{job.id}")).json()
    assert seen["previews"] == [
        {"index": 0, "calls_done": 3, "url": f"http://api.test/v1/jobs/{job.id}/previews/0"}
    ]
    assert await prompt_drawer.draw(job)
    seen = (await client.get(f"/v1/jobs/{job.id}")).json()
    assert (seen["status"], seen["previews"]) == ("succeeded", [])


@pytest.mark.parametrize(
    ("accept", "kind"), [("", "PNG"), ("image/webp", "WEBP"), ("image/jpeg", "JPEG")]
)
async def test_a_preview_comes_in_the_format_asked_for_and_says_how_far_it_is(
    client, job, accept, kind
):
    url = f"/v1/jobs/{job.id}/previews/0"
    response = await client.get(url, headers={"Accept": accept} if accept else {})
    assert response.status_code == 200
    assert response.headers["content-type"] == f"image/{kind.lower()}"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-calls-done"] == "3"
    image = Image.open(io.BytesIO(response.content))
    assert (image.format, image.size) == (kind, (16, 16))
    provenance = read_provenance(response.content)
    assert (provenance.calls_done, provenance.seed) == (3, 5)
    assert "3 of 25 steps" in provenance.description


async def test_a_preview_in_no_acceptable_format_is_406(client, job):
    url = f"/v1/jobs/{job.id}/previews/0"
    assert (await client.get(url, headers={"Accept": "text/html"})).status_code == 406


@pytest.mark.parametrize(("index", "why"), [(1, "not begun"), (2, "its images are 0 to 1")])
async def test_a_preview_that_is_not_there_is_404_with_the_reason(client, job, index, why):
    response = await client.get(f"/v1/jobs/{job.id}/previews/{index}")
    assert response.status_code == 404
    problem = response.json()
    assert problem["type"] == "urn:dimr:problem:preview-not-ready"
    assert why in problem["detail"]


async def test_a_queued_job_has_no_previews(client, both_served):
    queued = (await client.post("/v1/jobs", json={"prompt": "a dragon"})).json()
    response = await client.get(f"/v1/jobs/{queued['id']}/previews/0")
    assert queued["previews"] == []
    assert response.status_code == 404
    assert "the job is queued" in response.json()["detail"]
