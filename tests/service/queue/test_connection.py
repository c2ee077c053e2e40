import asyncio
from pathlib import Path

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from service.errors import QueueUnavailable
from service.queue import keys
from service.queue.connection import MAX_CONNECTIONS, connect, ping
from service.queue.forecast import Forecast
from service.queue.leases import Leases
from service.queue.registry import Registry
from service.queue.store import JobQueue


async def test_a_server_that_answers_is_there(redis) -> None:
    await ping(redis)


async def test_every_party_says_so_when_no_server_answers(tmp_path: Path, request_of) -> None:
    redis = connect(f"unix://{tmp_path / 'none.sock'}")
    redis.set_retry(Retry(NoBackoff(), 0))
    queue = JobQueue(redis)

    for call in (
        ping(redis),
        queue.enqueue(request_of(), cost=1),
        queue.get("x"),
        queue.cancel("x"),
        queue.image("x", 0),
        queue.events("x"),
        Leases(redis, "w").claim(["emoji"]),
        Leases(redis, "w").reap(),
        Registry(redis).models(),
        Registry(redis).known_models(),
        Forecast(redis).backlog("emoji"),
    ):
        with pytest.raises(QueueUnavailable, match="cannot be reached"):
            await call
    await redis.aclose()


async def test_more_commands_at_once_than_connections_wait_for_each_other(redis, queue, submit):
    job = await submit()

    jobs = await asyncio.gather(*(queue.get(job.id) for _ in range(10 * MAX_CONNECTIONS)))

    assert all(each == job for each in jobs)
    assert len(await redis.client_list(_type="normal")) <= MAX_CONNECTIONS


async def test_a_full_server_refuses_submissions_and_keeps_what_it_has(
    redis, queue, submit
) -> None:
    job = await submit()
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(QueueUnavailable, match=r"refuses to serve.*maxmemory"):
            await submit()
        assert await queue.get(job.id) == job
    finally:
        await redis.config_set("maxmemory", "0")


async def test_a_read_only_replica_serves_reads_and_refuses_submissions(
    redis, queue, submit
) -> None:
    job = await submit()
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(QueueUnavailable, match=r"refuses to serve.*replica"):
            await submit()
        assert await queue.get(job.id) == job
    finally:
        await redis.execute_command("REPLICAOF", "NO", "ONE")


async def test_a_mistake_of_ours_is_not_mistaken_for_an_outage(redis) -> None:
    await redis.set(f"{keys.QUEUED}emoji", "not a sorted set")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await Forecast(redis).backlog("emoji")


async def test_a_lost_connection_is_replaced_without_anybody_noticing(redis, submit) -> None:
    await submit()
    await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await redis.connection_pool.disconnect()

    await submit()


async def test_a_server_that_does_not_answer_in_time_is_unavailable(
    redis, queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.queue.connection.ANSWER_S", 0.05)
    await redis.execute_command("CLIENT", "PAUSE", "200", "ALL")

    with pytest.raises(QueueUnavailable, match=r"has not answered for 0\.05 s"):
        await queue.get("x")
    await redis.execute_command("CLIENT", "UNPAUSE")
