"""Identifiers, log lines, and the bound on bodies."""

import json
import logging

import pytest


def _request_lines(caplog):
    return [record for record in caplog.records if record.getMessage() == "request"]


async def test_a_request_id_is_echoed(client):
    response = await client.get("/health/live", headers={"X-Request-Id": "trace-1.a:b_c"})
    assert response.headers["x-request-id"] == "trace-1.a:b_c"


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 129, '"quoted"'])
async def test_a_request_id_is_made_where_none_fits(client, given):
    headers = {} if given is None else {"X-Request-Id": given}
    first, second = [await client.get("/health/live", headers=headers) for _ in range(2)]
    assert len(first.headers["x-request-id"]) == 32
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_errors_carry_the_request_id_too(client):
    response = await client.get("/nothing", headers={"X-Request-Id": "r-2"})
    assert response.headers["x-request-id"] == "r-2"


async def test_each_request_is_one_line_without_its_prompt(client, served, caplog):
    caplog.set_level(logging.INFO, "service.api")
    prompt = {"prompt": "tiger face", "steps": "secretly"}
    await client.post("/v1/jobs", json=prompt, headers={"X-Request-Id": "r-3"})
    (line,) = _request_lines(caplog)
    assert (line.method, line.path, line.status) == ("POST", "/v1/jobs", 422)
    assert line.request_id == "r-3"
    assert line.duration_ms >= 0
    assert "tiger" not in json.dumps(vars(line), default=str)
    assert "secretly" not in caplog.text


@pytest.mark.parametrize("url", ["/v1/jobs", "/v1/images/generations"])
async def test_a_body_over_the_bound_is_413(make_client, served, url):
    client = await make_client(max_body_bytes=1024)
    response = await client.post(url, json={"prompt": "x" * 1024})
    assert response.status_code == 413
    assert "1024 bytes" in response.text
    assert response.headers["connection"] == "close"
    assert response.headers["x-request-id"]


async def test_a_streamed_body_over_the_bound_is_413(make_client, served):
    client = await make_client(max_body_bytes=1024)

    async def stream():
        for _ in range(10):
            yield b" " * 256

    response = await client.post(
        "/v1/jobs", content=stream(), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 413
    assert response.json()["type"] == "urn:dimr:problem:body-too-large"


async def test_a_client_that_leaves_within_its_body_is_logged_as_gone(make_app, caplog):
    caplog.set_level(logging.INFO, "service.api")
    messages = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    app = await make_app()
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "headers": []}
    await app(scope, receive, send)
    (line,) = _request_lines(caplog)
    assert (line.status, sent) == (499, [])


async def test_a_body_at_the_bound_is_read_whole(make_client, served):
    client = await make_client(max_body_bytes=1024)
    content = json.dumps({"prompt": "tiger"}).encode().ljust(1024)

    async def stream():
        for start in range(0, 1024, 100):
            yield content[start : start + 100]

    headers = {"Content-Type": "application/json"}
    response = await client.post("/v1/jobs", content=stream(), headers=headers)
    assert response.status_code == 202
