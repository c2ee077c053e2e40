import asyncio

from service.queue import keys
from service.queue.connection import connect
from service.queue.jobs import JobStatus
from service.queue.leases import Leases, Reaped

NOTHING = Reaped((), (), ())


async def test_a_fresh_lease_is_left_alone(submit, worker, other_worker) -> None:
    await submit()
    await worker.claim(["emoji"])

    assert await other_worker.reap() == NOTHING


async def test_a_lease_not_renewed_in_time_goes_back_to_the_queue_with_its_attempt_counted(
    queue, submit, worker, other_worker, age, audit
) -> None:
    await submit()
    old = await worker.claim(["emoji"])
    await age(old, 10.5)

    assert await other_worker.reap() == Reaped(((old.id, "emoji"),), (), ())

    assert (await queue.get(old.id)).status is JobStatus.QUEUED
    await audit()
    new = await other_worker.claim(["emoji"])
    assert (new.id, new.attempts, new.worker) == (old.id, 2, "worker-b")
    assert not await worker.finish(old)
    assert await worker.renew([old, new]) == [old.id]


async def test_a_renewed_lease_is_left_alone_however_old_the_job(
    submit, worker, other_worker, age
) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    await age(job, 3600.0)

    assert await worker.renew([job]) == []
    assert await other_worker.reap() == NOTHING


async def test_a_queued_job_is_never_reaped_however_long_it_waits_after_a_return(
    submit, worker, redis
) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    await worker.requeue(job)
    entry = await redis.hget(keys.JOB + job.id, "entry")
    await redis.xclaim(
        f"{keys.STREAM}emoji:normal", keys.GROUP, keys.RETURNED, 0, [entry], idle=10**9
    )

    assert await worker.reap() == NOTHING
    assert (await worker.claim(["emoji"])).attempts == 1


async def test_a_reclaimed_job_keeps_its_place_in_the_line(submit, worker, age) -> None:
    first = await submit()
    job = await worker.claim(["emoji"])
    await submit()
    await age(job, 60.0)
    await worker.reap()

    assert (await worker.claim(["emoji"])).id == first.id


async def test_a_job_whose_workers_keep_dying_is_given_up_with_a_dead_letter(
    queue, submit, worker, age, redis, audit
) -> None:
    await submit()
    for _ in range(2):
        job = await worker.claim(["emoji"])
        await age(job, 60.0)
        assert (await worker.reap()).requeued == ((job.id, "emoji"),)
    job = await worker.claim(["emoji"])
    await age(job, 60.0)

    assert await worker.reap() == Reaped((), ((job.id, "emoji"),), ())

    failed = await queue.get(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error == "its worker stopped renewing the lease (attempt 3 of 3)"
    assert await redis.xlen(keys.DEAD_LETTERS) == 1
    await audit()


async def test_many_reapers_at_once_take_a_lease_back_once(submit, worker, redis_url, age) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    await age(job, 60.0)
    clients = [connect(redis_url) for _ in range(5)]

    results = await asyncio.gather(*(Leases(client, "w").reap() for client in clients))

    assert [r.requeued for r in results if r.requeued] == [((job.id, "emoji"),)]
    assert (await worker.claim(["emoji"])).attempts == 2
    await asyncio.gather(*(client.aclose() for client in clients))


async def test_leases_of_every_model_and_priority_are_reaped(submit, worker, age) -> None:
    for model in ("emoji", "cats"):
        for priority in ("high", "normal", "low"):
            await submit(model, priority=priority)
    jobs = [await worker.claim(["emoji", "cats"]) for _ in range(6)]
    for job in jobs:
        await age(job, 60.0)

    assert {i for i, _ in (await worker.reap()).requeued} == {job.id for job in jobs}


async def test_a_queued_job_past_its_deadline_expires(queue, submit, worker, audit) -> None:
    late = await submit(deadline_s=0.0)
    kept = await submit(deadline_s=60.0)

    assert await worker.reap() == Reaped((), (), ((late.id, "emoji"),))

    expired = await queue.get(late.id)
    assert expired.status is JobStatus.EXPIRED
    assert expired.error == "its deadline passed while it was queued"
    await audit()
    assert (await worker.claim(["emoji"])).id == kept.id


async def test_a_job_past_its_deadline_is_not_claimed_even_before_it_is_reaped(
    queue, submit, worker, audit
) -> None:
    late = await submit(deadline_s=0.0)
    kept = await submit()

    assert (await worker.claim(["emoji"])).id == kept.id
    assert (await queue.get(late.id)).status is JobStatus.EXPIRED
    await audit()


async def test_a_running_job_past_its_deadline_expires_and_its_lease_is_void(
    queue, submit, worker, redis, audit
) -> None:
    await submit(deadline_s=60.0)
    job = await worker.claim(["emoji"])
    await redis.zadd(keys.DEADLINES, {job.id: job.created_at})

    assert await worker.reap() == Reaped((), (), ((job.id, "emoji"),))

    assert await worker.renew([job]) == [job.id]
    assert (await queue.get(job.id)).error == "its deadline passed while it was running"
    await audit()


async def test_a_job_that_ended_in_time_does_not_expire(queue, submit, worker, redis) -> None:
    await submit(deadline_s=60.0)
    job = await worker.claim(["emoji"])
    await worker.store_image(job, 0, b"a")
    await worker.finish(job)

    assert await redis.zcard(keys.DEADLINES) == 0
    assert await worker.reap() == NOTHING
