import asyncio

import pytest

from service.queue import keys
from service.queue.jobs import Job, JobStatus


@pytest.fixture
def wait_for_end(queue, subscribed):
    """Start a wait and return once it has looked at the job and waits for a message."""

    async def start(job: Job) -> asyncio.Task[Job]:
        await subscribed(keys.ENDED)
        waiter = asyncio.create_task(queue.wait(job.id, 30.0))
        for _ in range(5):  # commands are answered in the order in which they were sent
            await queue.get(job.id)
        return waiter

    return start


async def test_a_waiter_is_told_of_the_end_at_once(submit, worker, elapsed, wait_for_end) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    waiter = await wait_for_end(job)
    await worker.store_image(job, 0, b"png")
    await worker.finish(job)

    assert (await waiter).status is JobStatus.SUCCEEDED
    assert elapsed() < 2.0


async def test_many_waiters_share_one_subscription(
    queue, submit, redis, elapsed, wait_for_end
) -> None:
    job = await submit()
    waiters = [await wait_for_end(job) for _ in range(10)]
    await queue.cancel(job.id)

    assert {(await waiter).status for waiter in waiters} == {JobStatus.CANCELLED}
    assert await redis.pubsub_numsub(keys.ENDED) == [(keys.ENDED.encode(), 1)]
    assert elapsed() < 3.0


async def test_a_wait_that_times_out_returns_the_job_as_it_stands(queue, submit) -> None:
    job = await submit()

    assert await queue.wait(job.id, 0.02) == job


async def test_a_wait_for_a_finished_job_returns_without_waiting(queue, submit, elapsed) -> None:
    job = await submit()
    await queue.cancel(job.id)

    assert (await queue.wait(job.id, 30.0)).status is JobStatus.CANCELLED
    assert elapsed() < 2.0


async def test_a_wait_survives_the_loss_of_its_subscription(
    queue, submit, redis, elapsed, wait_for_end
) -> None:
    job = await submit()
    waiter = await wait_for_end(job)
    await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await queue.cancel(job.id)

    assert (await waiter).status is JobStatus.CANCELLED
    assert elapsed() < 4.0
