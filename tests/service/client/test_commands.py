"""Patience with a busy server, and what an interrupt does."""

import asyncio
import io

import httpx
import pytest
from rich.console import Console

from service.client.commands import Commands
from service.client.connection import Connection, new_key
from service.client.errors import ServerFailed
from service.queue.forecast import Forecast

BODY = {"prompt": "tiger"}


async def test_a_full_queue_is_waited_for_as_long_as_it_asks(make_server, served):
    url = await make_server(queue_limit=1)
    slept: list[float] = []

    def submit_twice():
        def free_the_queue(seconds):
            slept.append(seconds)
            httpx.delete(f"{url}/v1/jobs/{first['id']}")

        with Connection(url, patience_s=60, sleep=free_the_queue) as connection:
            first = connection.submit(BODY, new_key())
            return first, connection.submit(BODY, new_key())

    first, second = await asyncio.to_thread(submit_twice)
    assert second["id"] != first["id"]
    assert len(slept) == 1
    assert 1 <= slept[0] <= 60


async def test_patience_is_bounded_by_time_not_by_tries(make_server, served):
    url = await make_server(queue_limit=1)
    slept: list[float] = []

    def submit_twice():
        with Connection(url, patience_s=5, sleep=slept.append) as connection:
            connection.submit(BODY, new_key())
            connection.submit(BODY, new_key())

    with pytest.raises(ServerFailed, match="holds 1 of at most 1 jobs"):
        await asyncio.to_thread(submit_twice)
    assert slept
    assert sum(slept) <= 5


async def test_a_refusal_is_not_retried(make_server, served):
    slept: list[float] = []

    def ask(url):
        with Connection(url, patience_s=60, sleep=slept.append) as connection:
            return connection.job("unknown")

    with pytest.raises(Exception, match="no job"):
        await asyncio.to_thread(ask, await make_server())
    assert slept == []


async def test_an_interrupt_cancels_the_job(server_url, drawer, tmp_path):
    drawer.may_draw.clear()
    lines: list[str] = []

    def generate():
        def interrupt(_):
            raise KeyboardInterrupt

        with Connection(server_url, patience_s=0) as connection:
            commands = Commands(connection, lines.append, Console(file=io.StringIO()), interrupt)
            with pytest.raises(KeyboardInterrupt):
                commands.generate(BODY, tmp_path)

    await asyncio.to_thread(generate)
    job = await drawer.claimed.get()
    assert await drawer.leases.renew([job]) == [job.id]
    assert lines == []
    assert list(tmp_path.iterdir()) == []


async def test_an_interrupt_while_the_queue_is_full_queues_nothing(
    make_server, served, redis, card, tmp_path
):
    url = await make_server(queue_limit=1)

    def generate():
        def interrupt(_):
            raise KeyboardInterrupt

        with Connection(url, patience_s=60, sleep=interrupt) as connection:
            connection.submit(BODY, new_key())
            commands = Commands(connection, print, Console(file=io.StringIO()))
            with pytest.raises(KeyboardInterrupt):
                commands.generate(BODY, tmp_path)

    await asyncio.to_thread(generate)
    assert (await Forecast(redis).backlog(card.id)).queued == 1


async def test_a_bar_tells_status_and_progress(server_url, drawer, tmp_path):
    drawer.may_draw.clear()
    shown = io.StringIO()
    screen = Console(file=shown, force_terminal=True, width=100)
    looked = []

    def generate():
        def look(_):
            looked.append(True)
            asyncio.run_coroutine_threadsafe(proceed(), loop).result(20)

        with Connection(server_url, patience_s=0) as connection:
            Commands(connection, print, screen, look).generate(BODY, tmp_path)

    async def proceed():
        if len(looked) == 1:
            job = await drawer.claimed.get()
            await drawer.leases.progress(job, 10)
        elif len(looked) == 2:
            drawer.may_draw.set()

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(generate)
    assert "running" in shown.getvalue()
    assert "succeeded" in shown.getvalue()
