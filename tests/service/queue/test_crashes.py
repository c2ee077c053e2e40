"""Processes that die for real: workers by SIGKILL, the server by SIGKILL and by request."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from service.errors import QueueUnavailable
from service.queue import keys
from service.queue.connection import connect, ping
from service.queue.embedded import EmbeddedRedis
from service.queue.jobs import Job, JobStatus
from service.queue.leases import Leases
from service.queue.store import JobQueue

LEASE_S = 0.15

StartWorker = Callable[[str, str], Awaitable[asyncio.subprocess.Process]]

WORKER = """
import asyncio, sys
from service.queue.connection import connect
from service.queue.leases import Leases

async def main(url, last_act):
    leases = Leases(connect(url), "doomed", lease_s={lease_s})
    job = await leases.claim(["emoji"])
    if last_act == "store_image":
        await leases.store_image(job, 0, b"stale")
    print(job.id, flush=True)
    while True:
        await leases.renew([job])
        await asyncio.sleep(0.02)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def doomed_worker() -> AsyncIterator[StartWorker]:
    """Start a worker process that claims, does one thing more, and renews until it is killed."""
    processes = []

    async def start(url: str, last_act: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WORKER.format(lease_s=LEASE_S), url, last_act),
            stdout=asyncio.subprocess.PIPE,
        )
        processes.append(process)
        assert process.stdout is not None
        await process.stdout.readline()
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("last_act", ["claim", "store_image"])
async def test_a_job_whose_worker_is_killed_runs_elsewhere_after_the_lease(
    last_act, redis, redis_url, queue, submit, doomed_worker, until_true, audit
) -> None:
    submitted = await submit(n=2)
    heir = Leases(redis, "heir", lease_s=LEASE_S)
    process = await doomed_worker(redis_url, last_act)
    renewing_until = time.monotonic() + 2 * LEASE_S
    while time.monotonic() < renewing_until:
        assert (await heir.reap()).requeued == (), "a renewed lease was taken back"
    process.kill()
    killed_at = time.monotonic()

    async def taken_back() -> bool:
        return (await heir.reap()).requeued == ((submitted.id, "emoji"),)

    await until_true(taken_back)

    assert time.monotonic() - killed_at < LEASE_S + 1.0
    job = await _claim(heir)
    assert (job.id, job.attempts, job.worker) == (submitted.id, 2, "heir")
    for k in range(2):
        await heir.store_image(job, k, b"png")
    assert await heir.finish(job)
    assert (await queue.get(job.id)).status is JobStatus.SUCCEEDED
    await audit()


async def test_a_paused_worker_that_wakes_after_its_lease_cannot_end_the_job(
    redis, queue, submit, audit
) -> None:
    await submit()
    sleeper, heir = Leases(redis, "sleeper"), Leases(redis, "heir", lease_s=0.0)
    stale = await _claim(sleeper)
    await heir.reap()
    fresh = await _claim(heir)

    outcomes = await asyncio.gather(
        sleeper.store_image(stale, 0, b"stale"), heir.store_image(fresh, 0, b"fresh")
    )
    endings = await asyncio.gather(sleeper.finish(stale), heir.finish(fresh))

    assert [*outcomes, *endings] == [False, True, False, True]
    assert await queue.image(fresh.id, 0) == b"fresh"
    await audit()


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
async def test_queued_running_and_finished_jobs_survive_the_death_of_the_server(
    death, tmp_path, request_of
) -> None:
    with EmbeddedRedis(tmp_path) as server:
        redis = connect(server.url)
        queue, worker = JobQueue(redis), Leases(redis, "w")
        done, running, queued = [
            await queue.enqueue(request_of(), cost=20, idempotency_key=str(k)) for k in range(3)
        ]
        lease = await _claim(worker)
        await worker.store_image(lease, 0, b"png")
        await worker.finish(lease)
        lease = await _claim(worker)
        before = [await queue.get(job.id) for job in (done, running, queued)]
        events = await queue.events(done.id)
        os.kill(server.pid, death)
        with pytest.raises(QueueUnavailable):
            await _ping_for_ever(redis)
        await redis.aclose()

    with EmbeddedRedis(tmp_path) as server:
        redis = connect(server.url)
        queue, worker = JobQueue(redis), Leases(redis, "w")
        assert [await queue.get(job.id) for job in (done, running, queued)] == before
        assert await queue.image(done.id, 0) == b"png"
        assert await queue.events(done.id) == events
        assert await redis.pttl(keys.JOB + done.id) > 0
        again = await queue.enqueue(request_of(), cost=20, idempotency_key="2")
        assert again.id == queued.id
        assert await worker.store_image(lease, 0, b"png")
        assert await worker.finish(lease)
        assert (await _claim(worker)).id == queued.id
        await redis.aclose()


async def test_a_waiter_hears_of_the_end_across_an_outage_of_the_server(
    tmp_path, request_of, elapsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.queue.store.RECHECK_S", 0.05)
    address = tmp_path / "s"
    address.symlink_to(tmp_path / "nowhere")
    with EmbeddedRedis(tmp_path / "data") as first:
        _point(address, first)
        redis = connect(f"unix://{address}")
        async with JobQueue(redis) as queue:
            job = await queue.enqueue(request_of(), cost=1)
            waiter = asyncio.create_task(queue.wait(job.id, 30.0))
            for _ in range(5):  # commands are answered in the order in which they were sent
                await queue.get(job.id)
            first.stop()
            with pytest.raises(QueueUnavailable):
                await queue.get(job.id)
            assert not waiter.done()
            with EmbeddedRedis(tmp_path / "data") as second:
                _point(address, second)
                await queue.cancel(job.id)

                assert (await waiter).status is JobStatus.CANCELLED
                assert elapsed() < 5.0
        await redis.aclose()


async def _claim(leases: Leases) -> Job:
    job = await leases.claim(["emoji"])
    assert job is not None
    return job


async def _ping_for_ever(redis: Redis) -> None:
    while True:
        await ping(redis)


def _point(address, server: EmbeddedRedis) -> None:
    address.unlink()
    address.symlink_to(server.url.removeprefix("unix://"))
