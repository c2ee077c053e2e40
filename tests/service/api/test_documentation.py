"""/openapi.json is complete enough to write a client from."""

import jsonschema  # type: ignore[import-untyped]
import pytest

ROUTES = {
    ("/v1/images/generations", "post"),
    ("/v1/jobs", "post"),
    ("/v1/jobs/{job_id}", "get"),
    ("/v1/jobs/{job_id}", "delete"),
    ("/v1/jobs/{job_id}/images/{index}", "get"),
    ("/v1/jobs/{job_id}/previews/{index}", "get"),
    ("/v1/models", "get"),
    ("/v1/models/{model_id}", "get"),
    ("/health/live", "get"),
    ("/health/ready", "get"),
    ("/metrics", "get"),
}


@pytest.fixture
async def document(client):
    return (await client.get("/openapi.json")).json()


def _operations(document):
    return {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _references(node):
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and "$ref" in node:
        yield node["$ref"]
    for child in children:
        yield from _references(child)


async def test_every_route_is_described(document):
    operations = _operations(document)
    assert set(operations) == ROUTES
    assert all(operation["description"] for operation in operations.values())


async def test_no_reference_leads_nowhere(document):
    schemas = document["components"]["schemas"]
    assert all(r.removeprefix("#/components/schemas/") in schemas for r in _references(document))
    assert "HTTPValidationError" not in schemas


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/images/generations"])
async def test_bodies_are_described_and_their_examples_are_right(client, served, document, path):
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    fields = body["schema"]["properties"]
    assert {"prompt", "class_label", "n", "size", "seed", "steps", "guidance"} <= set(fields)
    assert all(field["description"] for field in fields.values())
    jsonschema.validate(body["example"], body["schema"])
    if path == "/v1/jobs":
        assert (await client.post(path, json=body["example"])).status_code == 202


async def test_errors_are_described_in_the_shape_of_their_route(document):
    operations = _operations(document)
    jobs = operations["/v1/jobs", "post"]["responses"]
    images = operations["/v1/images/generations", "post"]["responses"]
    assert set(jobs["429"]["content"]) == {"application/problem+json"}
    assert "Retry-After" in jobs["429"]["headers"]
    assert "error" in images["429"]["content"]["application/json"]["schema"]["properties"]


async def test_problems_are_as_described(client, document):
    problem = (await client.post("/v1/jobs", json={"n": 0})).json()
    schema = document["paths"]["/v1/jobs"]["post"]["responses"]["422"]["content"]
    jsonschema.validate(problem, schema["application/problem+json"]["schema"])
    assert problem["errors"]
