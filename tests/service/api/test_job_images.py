"""Images of finished jobs: formats, caching, and what is refused."""

import io

import pytest
from PIL import Image

from service.images import read_provenance


@pytest.fixture
async def make_job(client, drawer):
    async def make(**fields):
        body = {"prompt": "tiger", "seed": 5, **fields}
        response = await client.post("/v1/jobs", json=body, headers={"Prefer": "wait=20"})
        assert response.status_code == 200, response.text
        return response.json()

    return make


@pytest.fixture
async def job(make_job):
    return await make_job(n=2)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("image/png", "PNG"),
        ("image/webp", "WEBP"),
        ("image/jpeg", "JPEG"),
        ("*/*", "PNG"),
        ("image/webp;q=0.5, image/jpeg;q=0.8", "JPEG"),
        ("text/html, image/avif", None),
        ("image/*;q=0", None),
    ],
)
async def test_the_accept_header_chooses_the_format(client, job, accept, kind):
    response = await client.get(job["images"][1]["url"], headers={"Accept": accept})
    if kind is None:
        assert response.status_code == 406
        assert response.headers["content-type"] == "application/problem+json"
        assert "image/webp" in response.json()["detail"]
    else:
        assert response.headers["content-type"] == f"image/{kind.lower()}"
        assert Image.open(io.BytesIO(response.content)).format == kind
        assert read_provenance(response.content).seed == 6
        assert response.headers["vary"] == "Accept"


async def test_without_preference_the_format_is_the_jobs_own(client, make_job):
    job = await make_job(output_format="webp", output_compression=10)
    response = await client.get(job["images"][0]["url"])
    assert response.headers["content-type"] == "image/webp"


async def test_an_unchanged_image_is_304_by_its_etag(client, job):
    url = job["images"][0]["url"]
    first = await client.get(url)
    etag = first.headers["etag"]
    assert etag.startswith('"')
    again = await client.get(url, headers={"If-None-Match": f'"other", W/{etag}'})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == etag
    assert again.headers["cache-control"] == first.headers["cache-control"]
    assert (await client.get(url, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_each_format_and_image_has_its_own_etag(client, job):
    etags = {
        (await client.get(image["url"], headers={"Accept": accept})).headers["etag"]
        for image in job["images"]
        for accept in ("image/png", "image/webp", "image/jpeg")
    }
    assert len(etags) == 6


async def test_images_may_be_cached_as_long_as_they_are_kept(make_client, job):
    client = await make_client(result_ttl_s=120)
    response = await client.get(job["images"][0]["url"])
    assert response.headers["cache-control"] == "private, max-age=120, immutable"


async def test_an_image_that_the_job_does_not_have_is_404(client, job):
    response = await client.get(f"/v1/jobs/{job['id']}/images/2")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:dimr:problem:image-not-ready"


async def test_an_image_that_is_not_drawn_yet_is_404(client, drawer):
    drawer.may_draw.clear()
    job = (await client.post("/v1/jobs", json={"prompt": "tiger"})).json()
    response = await client.get(f"/v1/jobs/{job['id']}/images/0")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:dimr:problem:image-not-ready"


@pytest.mark.parametrize("index", ["-1", "first", "1.5", "9" * 5000])
async def test_an_index_that_is_none_is_422(client, job, index):
    response = await client.get(f"/v1/jobs/{job['id']}/images/{index}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "index"
