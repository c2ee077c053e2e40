"""Every field with values that cannot be used, on both routes that take them."""

import json

import pytest

MAX_SEED = 2**63 - 1

JOBS = "/v1/jobs"
GENERATIONS = "/v1/images/generations"

# field, value, a part of what the answer says is allowed
BAD_FIELDS = [
    ("n", 0, "1"),
    ("n", -1, "1"),
    ("n", 9, "1 to 8"),
    ("n", True, "an integer"),
    ("n", 1.5, "an integer"),
    ("n", 2.0, "an integer"),
    ("n", "2", "an integer"),
    ("n", [2], "an integer"),
    ("n", 10**30, "1 to 8"),
    ("n", 10**400, "1 to 8"),
    ("steps", 0, "1"),
    ("steps", 101, "1 to 100"),
    ("steps", True, "an integer"),
    ("steps", "20", "an integer"),
    ("steps", 20.5, "an integer"),
    ("guidance", -0.1, "0 to 10"),
    ("guidance", 10.1, "0 to 10"),
    ("guidance", "1.5", "a finite number"),
    ("guidance", True, "a finite number"),
    ("guidance", float("nan"), "a finite number"),
    ("guidance", float("inf"), "a finite number"),
    ("guidance", float("-inf"), "a finite number"),
    ("seed", -1, f"from 0 to {MAX_SEED}"),
    ("seed", MAX_SEED + 1, f"from 0 to {MAX_SEED}"),
    ("seed", 10**100, f"from 0 to {MAX_SEED}"),
    ("seed", False, "an integer"),
    ("seed", 1.0, "an integer"),
    ("seed", "7", "an integer"),
    ("sampler", "euler", "ddim, dpmpp_2m"),
    ("sampler", "DDIM", "ddim, dpmpp_2m"),
    ("sampler", "x" * 51, "up to 50"),
    ("sampler", 1, "a string"),
    ("size", "64x64", "auto, 32x32"),
    ("size", "32", "auto, 32x32"),
    ("size", "32x64", "auto, 32x32"),
    ("size", "0x20", "auto, 32x32"),
    ("size", 32, "a string"),
    ("class_label", -1, "0 to 3"),
    ("class_label", 4, "0 to 3"),
    ("class_label", "tigre face", "nearest: tiger face"),
    ("class_label", "0", "4 classes"),
    ("class_label", "", "4 classes"),
    ("class_label", True, "an integer or a string"),
    ("class_label", 1.0, "an integer or a string"),
    ("class_label", ["tiger"], "an integer or a string"),
    ("class_label", "x" * 201, "up to 200"),
    ("prompt", "a dragon", "4 classes"),
    ("prompt", "a tigerr face", "nearest: tiger face"),
    ("prompt", "x" * 4001, "up to 4000"),
    ("prompt", 7, "a string"),
    ("output_format", "gif", '"png", "webp", "jpeg"'),
    ("output_format", "PNG", '"png", "webp", "jpeg"'),
    ("output_format", 1, '"png", "webp", "jpeg"'),
    ("output_compression", -1, "from 0 to 100"),
    ("output_compression", 101, "from 0 to 100"),
    ("output_compression", True, "an integer"),
    ("output_compression", 50.0, "an integer"),
    ("model", 5, "a string"),
    ("model", "m" * 201, "up to 200"),
]
BAD_JOB_FIELDS = [
    ("priority", "urgent", '"high", "normal", "low"'),
    ("priority", 1, '"high", "normal", "low"'),
    ("deadline_s", 0, "above 0"),
    ("deadline_s", -5, "above 0"),
    ("deadline_s", 86401, "to 86400"),
    ("deadline_s", float("inf"), "a finite number"),
    ("deadline_s", "5", "a finite number"),
    ("deadline_s", True, "a finite number"),
    ("stepz", 20, "nearest: steps"),
    ("response_format", "url", "output_format"),
    ("qwertyuiop", 20, "class_label"),
]
BAD_GENERATION_FIELDS = [
    ("stream", True, "GET /v1/jobs"),
    ("stream", 0, "GET /v1/jobs"),
    ("partial_images", 2, "from 0 to 0"),
    ("partial_images", False, "an integer"),
    ("response_format", "path", '"b64_json", "url"'),
    ("background", "transparent", '"auto", "opaque"'),
    ("quality", "best", '"hd"'),
    ("style", "baroque", '"vivid", "natural"'),
    ("moderation", "none", '"auto", "low"'),
    ("complexity", "absurd", '"high"'),
    ("user", 5, "a string"),
    ("user", "u" * 201, "up to 200"),
    ("safety_identifier", 5, "a string"),
    ("frame_count", 5, "null"),
    ("frame_duration_ms", 5, "null"),
    ("svg", {"model": "m"}, "null"),
    ("num_steps", 20, "nearest: steps"),
    ("priority", "high", "class_label"),
]


def _body(field, value):
    body = {field: value}
    if field not in ("prompt", "class_label"):
        body["prompt"] = "tiger"
    return json.dumps(body)  # unlike the client's own, this writes NaN and Infinity


async def _post(client, url, content):
    return await client.post(url, content=content, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(("field", "value", "allowed"), BAD_FIELDS + BAD_JOB_FIELDS)
async def test_a_bad_field_of_a_job_is_named_with_what_is_allowed(
    client, served, field, value, allowed
):
    response = await _post(client, JOBS, _body(field, value))
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "urn:dimr:problem:invalid-field"
    assert problem["status"] == 422
    (error,) = problem["errors"]
    assert error["field"] == field
    assert allowed in error["allowed"]
    assert field in problem["detail"]


@pytest.mark.parametrize(("field", "value", "allowed"), BAD_FIELDS + BAD_GENERATION_FIELDS)
async def test_a_bad_field_of_a_generation_is_named_in_openais_shape(
    client, served, field, value, allowed
):
    response = await _post(client, GENERATIONS, _body(field, value))
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert error["param"] == field
    assert error["code"] == "invalid_field"
    assert allowed in error["message"]


async def test_all_bad_fields_are_named_at_once(client, served):
    body = {
        "prompt": "dragon",
        "n": 99,
        "steps": 999,
        "guidance": 99,
        "sampler": "s",
        "size": "1x1",
    }
    problem = (await client.post(JOBS, json=body)).json()
    assert {error["field"] for error in problem["errors"]} == set(body)
    wrong_types = {"n": "1", "seed": -1, "whatever": 1}
    problem = (await client.post(JOBS, json=wrong_types)).json()
    assert {error["field"] for error in problem["errors"]} == set(wrong_types)


async def test_the_value_comes_back_as_it_was_sent_or_cut(client, served):
    problem = (await client.post(JOBS, json={"n": 99, "prompt": "tiger"})).json()
    assert problem["errors"][0]["value"] == 99
    problem = (await client.post(JOBS, json={"prompt": "y" * 5000})).json()
    assert problem["errors"][0]["value"] == "y" * 200 + "..."
    assert len(problem["detail"]) < 1000


async def test_a_seed_leaves_room_for_every_image(client, served):
    good = await client.post(JOBS, json={"prompt": "tiger", "seed": MAX_SEED - 1, "n": 2})
    bad = await client.post(JOBS, json={"prompt": "tiger", "seed": MAX_SEED, "n": 2})
    assert good.status_code == 202
    assert good.json()["parameters"]["seed"] == MAX_SEED - 1
    assert bad.status_code == 422
    assert bad.json()["errors"][0]["field"] == "seed"


async def test_without_class_or_prompt_a_class_is_asked_for(client, served):
    for body in ({}, {"prompt": ""}, {"prompt": "  "}, {"class_label": None}):
        problem = (await client.post(JOBS, json=body)).json()
        assert problem["errors"][0]["field"] == "class_label"


async def test_class_and_prompt_must_agree(client, served):
    agree = await client.post(JOBS, json={"prompt": "The Tiger", "class_label": "tiger face"})
    disagree = await client.post(JOBS, json={"prompt": "cat face", "class_label": 0})
    assert agree.status_code == 202
    assert disagree.status_code == 422
    (error,) = disagree.json()["errors"]
    assert error["field"] == "prompt"
    assert "tiger face" in error["allowed"]


@pytest.mark.parametrize("content", ["", "{", "nonsense", '{"n": }', b"\xff\xfe", "[" * 100_000])
@pytest.mark.parametrize("url", [JOBS, GENERATIONS])
async def test_what_is_not_json_is_400(client, served, url, content):
    response = await _post(client, url, content)
    assert response.status_code == 400
    answer = response.json()
    detail = answer["detail"] if url == JOBS else answer["error"]["message"]
    assert "not JSON" in detail


@pytest.mark.parametrize("content", ["[]", "null", "7", '"tiger"'])
async def test_json_that_is_no_object_is_422(client, served, content):
    response = await _post(client, JOBS, content)
    assert response.status_code == 422
    assert response.json()["errors"][0]["allowed"] == "a JSON object"


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_that_is_not_declared_as_json_is_415(client, served, media_type):
    headers = {"Content-Type": media_type}
    response = await client.post(JOBS, content='{"prompt": "tiger"}', headers=headers)
    assert response.status_code == 415
    assert "application/json" in response.json()["detail"]


async def test_parameters_of_the_media_type_do_not_matter(client, served):
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    response = await client.post(JOBS, content='{"prompt": "tiger"}', headers=headers)
    assert response.status_code == 202


async def test_the_service_bounds_images_below_the_card(make_client, served):
    client = await make_client(max_images=3)
    problem = (await client.post(JOBS, json={"prompt": "tiger", "n": 4})).json()
    assert problem["errors"][0]["allowed"] == "an integer from 1 to 3"
