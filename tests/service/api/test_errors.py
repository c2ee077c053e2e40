"""Errors that belong to no route, and the table from errors to status codes."""

import re

import pytest

from service import errors
from service.api.errors import MEANINGS
from service.errors import ServiceError

NOT_FOR_CLIENTS = {"EmbeddedRedisFailed", "SettingsInvalid", "EngineFault"}


def test_every_error_that_can_reach_a_client_has_a_meaning():
    raised = {error.__name__ for error in ServiceError.__subclasses__()}
    assert {error.__name__ for error in MEANINGS} == raised - NOT_FOR_CLIENTS


def test_the_tree_that_is_drawn_agrees_with_the_table():
    drawn = re.findall(r"── (\w+) .*-> (\d{3})$", errors.__doc__, re.MULTILINE)
    assert {name: int(status) for name, status in drawn} == {
        error.__name__: meaning.status for error, meaning in MEANINGS.items()
    }


def test_names_are_stable_slugs():
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", meaning.name) for meaning in MEANINGS.values())


async def test_an_unknown_path_is_a_problem(client):
    response = await client.get("/v1/nothing")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:dimr:problem:not-found"
    assert response.json()["title"] == "No such path"
    assert response.json()["status"] == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "/v1/jobs/abc", {"GET", "DELETE"}), ("DELETE", "/v1/models", {"GET"})],
)
async def test_a_wrong_method_is_a_problem_that_says_which_are_right(client, method, path, allowed):
    response = await client.request(method, path)
    assert response.status_code == 405
    assert response.json()["type"] == "urn:dimr:problem:method-not-allowed"
    assert set(response.headers["allow"].split(", ")) <= allowed


async def test_openais_route_says_wrong_methods_in_openais_shape(client):
    response = await client.get("/v1/images/generations")
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


async def test_an_error_of_our_own_is_500_without_its_details(client, served, redis):
    await redis.set("unrelated", "x")
    job = (await client.post("/v1/jobs", json={"prompt": "tiger"})).json()
    (key,) = [k async for k in redis.scan_iter(f"*{job['id']}") if await redis.type(k) == b"hash"]
    await redis.hset(key, "status", "not-a-status")
    response = await client.get(f"/v1/jobs/{job['id']}", headers={"X-Request-Id": "r-1"})
    assert response.status_code == 500
    assert response.json()["type"] == "urn:dimr:problem:internal-error"
    assert "not-a-status" not in response.text
    assert response.headers["x-request-id"] == "r-1"
