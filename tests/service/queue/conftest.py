"""A connection, the parties of the queue, requests to put into it, and an auditor."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from service.cards import ClassEntry, Defaults, Limits, ModelCard
from service.queue import keys
from service.queue.connection import connect
from service.queue.jobs import PRIORITIES, ImageRequest, Job, JobStatus
from service.queue.leases import Leases
from service.queue.store import JobQueue

ENDS = [status for status in JobStatus if status.terminal]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def queue(redis: Redis) -> AsyncIterator[JobQueue]:
    async with JobQueue(redis, queue_limit=8, result_ttl_s=60, idempotency_ttl_s=120) as queue:
        yield queue


@pytest.fixture
def worker(redis: Redis) -> Leases:
    return Leases(redis, "worker-a", lease_s=10.0, max_attempts=3)


@pytest.fixture
def other_worker(redis: Redis) -> Leases:
    return Leases(redis, "worker-b", lease_s=10.0, max_attempts=3)


@pytest.fixture
def request_of() -> Callable[..., ImageRequest]:
    def build(model: str = "emoji", **fields: Any) -> ImageRequest:
        values = {
            "model": model,
            "label": 3,
            "class_name": "cat",
            "n": 1,
            "seed": 7,
            "steps": 10,
            "sampler": "dpm++",
            "guidance": 2.0,
            "size": 64,
        }
        return ImageRequest.model_validate({**values, **fields})

    return build


@pytest.fixture
def card_of() -> Callable[[str], ModelCard]:
    def build(model: str) -> ModelCard:
        return ModelCard(
            id=model,
            kind="dimr",
            conditioning=("class",),
            sizes=(64,),
            classes=(ClassEntry(index=0, name="cat", aliases=("kitten",)),),
            samplers=("dpm++",),
            limits=Limits(),
            defaults=Defaults(steps=20, guidance=2.0, sampler="dpm++", size=64),
        )

    return build


@pytest.fixture
def elapsed() -> Callable[[], float]:
    """Seconds since the test began."""
    start = time.monotonic()
    return lambda: time.monotonic() - start


@pytest.fixture
def until_true() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Wait for a condition that another process or a timer brings about, for 5 s at most."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(5.0):
            while not await condition():  # noqa: ASYNC110 - nothing here could set an event
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def subscribed(redis: Redis, until_true: Any) -> Callable[[str], Awaitable[None]]:
    """Wait until somebody listens to a channel."""

    async def wait(channel: str) -> None:
        async def heard() -> bool:
            return bool((await redis.pubsub_numsub(channel))[0][1])

        await until_true(heard)

    return wait


@pytest.fixture
def submit(
    queue: JobQueue, request_of: Callable[..., ImageRequest]
) -> Callable[..., Awaitable[Job]]:
    async def enqueue(model: str = "emoji", *, n: int = 1, cost: int = 20, **options: Any) -> Job:
        return await queue.enqueue(request_of(model, n=n), cost=cost, **options)

    return enqueue


@pytest.fixture
def age(redis: Any) -> Callable[[Job, float], Awaitable[None]]:
    """Make a lease look as if it had not been renewed for some seconds."""

    async def set_idle(job: Job, seconds: float) -> None:
        entry = await redis.hget(keys.JOB + job.id, "entry")
        assert entry is not None
        stream = f"{keys.STREAM}{job.request.model}:{job.priority}"
        await redis.xclaim(
            stream, keys.GROUP, keys.HELD, 0, [entry], idle=round(seconds * 1000), justid=True
        )

    return set_idle


@pytest.fixture
def audit(redis: Any) -> Callable[[], Awaitable[None]]:
    """Compare everything the server holds about jobs with their states, field by field."""

    async def check() -> None:
        jobs = [
            Job.from_hash(await redis.hgetall(key)) async for key in redis.scan_iter(f"{keys.JOB}*")
        ]
        models = {job.request.model for job in jobs}
        unfinished = [job for job in jobs if not job.status.terminal]
        queued = [job for job in jobs if job.status == "queued"]
        running = [job for job in jobs if job.status == "running"]

        for model in models:
            mine = [job for job in queued if job.request.model == model]
            in_line = await redis.zrange(keys.QUEUED + model, 0, -1)
            assert {i.decode() for i in in_line} == {job.id for job in mine}
            held = await redis.smembers(keys.RUNNING + model)
            assert {i.decode() for i in held} == {
                job.id for job in running if job.request.model == model
            }
            steps = await redis.hget(keys.STEPS, model)
            assert int(steps) == sum(job.cost for job in mine)
            for priority in PRIORITIES:
                await _audit_stream(
                    redis,
                    f"{keys.STREAM}{model}:{priority}",
                    [j for j in unfinished if (j.request.model, j.priority) == (model, priority)],
                )

        timed = await redis.zrange(keys.DEADLINES, 0, -1)
        assert {i.decode() for i in timed} == {j.id for j in unfinished if j.deadline_at}
        for job in jobs:
            lives_for = await redis.pttl(keys.JOB + job.id)
            assert (lives_for > 0) is job.status.terminal
            events = await redis.xrange(keys.EVENTS + job.id)
            types = [json.loads(fields[b"data"])["type"] for _, fields in events]
            assert [kind for kind in types if kind in ENDS] == [job.status] * job.status.terminal

    return check


async def _audit_stream(redis: Any, stream: str, unfinished: list[Job]) -> None:
    if not await redis.exists(stream):
        assert not unfinished
        return
    entries = await redis.xrange(stream)
    assert {fields[b"job"].decode() for _, fields in entries} == {job.id for job in unfinished}
    owner = {
        row["message_id"]: row["consumer"].decode()
        for row in await redis.xpending_range(stream, keys.GROUP, "-", "+", 1000)
    }
    by_id = {job.id: job for job in unfinished}
    for entry_id, fields in entries:
        job = by_id[fields[b"job"].decode()]
        if job.status == "running":
            assert owner.pop(entry_id) == keys.HELD
        elif job.claims:
            assert owner.pop(entry_id) == keys.RETURNED
    assert owner == {}
