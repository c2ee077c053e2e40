"""The API process: its help, its refusals to start, and its clean stop."""

import asyncio
import os
import signal
import socket
import sys

import httpx
import pytest

pytestmark = pytest.mark.slow  # each test starts a Python process


@pytest.fixture
async def start():
    """Start `python -m service.api` with these settings; what still runs is killed at the end."""
    started = []

    async def begin(*arguments, **settings):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DIMR_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.api", *arguments),
            env={**inherited, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _end(process):
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_help_teaches(start):
    status, out, _ = await _end(await start("--help"))
    assert status == 0
    assert "DIMR_REDIS_URL" in out
    assert "example" in out
    assert "exit status" in out


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "DIMR_REDIS_URL"),
        ({"DIMR_REDIS_URL": "http://nowhere"}, "DIMR_REDIS_URL"),
        ({"DIMR_REDIS_URL": "redis://127.0.0.1:1"}, "Redis"),
        ({"DIMR_REDIS_URL": "redis://127.0.0.1:1", "DIMR_PORT": "high"}, "DIMR_PORT"),
    ],
)
async def test_what_cannot_work_is_one_line_and_status_2(start, settings, named):
    status, out, err = await _end(await start(**settings))
    assert status == 2
    assert out == ""
    assert err.startswith("dimr-api: ")
    assert err.count("\n") == 1
    assert named in err


async def test_a_taken_port_is_one_line_and_status_2(start, redis_url):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, _, err = await _end(await start(DIMR_REDIS_URL=redis_url, DIMR_PORT=port))
    assert status == 2
    assert err.startswith("dimr-api: DIMR_HOST, DIMR_PORT")
    assert err.count("\n") == 1


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


async def _started(process):
    while b'"api started"' not in await process.stderr.readline():
        assert process.returncode is None


async def test_metrics_of_processes_that_share_a_folder_are_shown_together(
    start, redis_url, tmp_path
):
    count = (
        "from prometheus_client import CollectorRegistry; from service.metrics import Metrics; "
        "Metrics(CollectorRegistry()).images.labels('m').inc(3)"
    )
    folder = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", count), env={**os.environ, **folder}
    )
    assert await worker.wait() == 0
    port = _free_port()
    api = await start(DIMR_REDIS_URL=redis_url, DIMR_PORT=str(port), **folder)
    await _started(api)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        page = (await client.get("/metrics")).text
    assert 'dimr_images_total{model="m"} 3.0' in page
    assert "dimr_ready 0.0" in page


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal_and_then_ends_cleanly(start, redis_url, served, stop):
    port = _free_port()
    process = await start(DIMR_REDIS_URL=redis_url, DIMR_PORT=str(port))
    await _started(process)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/health/ready")).status_code == 200
        process.send_signal(stop)
        status, out, err = await _end(process)
    assert status == 0
    assert out == ""
    assert '"request"' in err
    assert '"api stopped"' in err
