import asyncio

from service.queue import keys
from service.queue.connection import connect
from service.queue.jobs import JobStatus
from service.queue.leases import Leases
from service.queue.store import JobQueue


async def test_a_claimed_job_runs_under_its_worker(queue, submit, worker, audit) -> None:
    submitted = await submit()

    job = await worker.claim(["emoji"])

    assert job == await queue.get(submitted.id)
    assert (job.status, job.worker, job.attempts, job.claims) == ("running", "worker-a", 1, 1)
    assert job.started_at >= job.created_at
    assert await worker.claim(["emoji"]) is None
    await audit()


async def test_nothing_is_claimed_for_a_model_the_worker_does_not_serve(submit, worker) -> None:
    await submit("emoji")

    assert await worker.claim(["cats"]) is None
    assert await worker.claim([]) is None


async def test_higher_priorities_go_first_and_arrival_decides_within_one_over_all_models(
    submit, worker
) -> None:
    plan = [
        ("emoji", "low"),
        ("cats", "normal"),
        ("emoji", "normal"),
        ("emoji", "high"),
        ("cats", "high"),
        ("cats", "normal"),
    ]
    ids = [(await submit(model, priority=priority)).id for model, priority in plan]

    claimed = [(await worker.claim(["emoji", "cats"])).id for _ in plan]

    assert claimed == [ids[k] for k in (3, 4, 1, 2, 5, 0)]


async def test_many_workers_claim_every_job_exactly_once(redis, redis_url, request_of) -> None:
    ids = {(await JobQueue(redis).enqueue(request_of(), cost=1)).id for _ in range(30)}
    clients = [connect(redis_url) for _ in range(5)]

    async def claim_all(leases: Leases) -> list[str]:
        mine = []
        while (job := await leases.claim(["emoji"])) is not None:
            mine.append(job.id)
        return mine

    claimed = await asyncio.gather(*(claim_all(Leases(c, f"w{k}")) for k, c in enumerate(clients)))

    assert sorted(i for mine in claimed for i in mine) == sorted(ids)
    await asyncio.gather(*(client.aclose() for client in clients))


async def test_a_stream_entry_without_a_queued_job_is_skipped(submit, worker, redis) -> None:
    job = await submit()
    stream = f"{keys.STREAM}emoji:normal"
    await redis.delete(stream)
    await redis.xgroup_create(stream, keys.GROUP, "0", mkstream=True)
    await redis.xadd(stream, {"job": "gone"})
    entry = await redis.xadd(stream, {"job": job.id})
    await redis.hset(keys.JOB + job.id, "entry", entry)

    assert (await worker.claim(["emoji"])).id == job.id
    assert await redis.xlen(stream) == 1
    assert (await redis.xpending(stream, keys.GROUP))["pending"] == 1


async def test_a_job_succeeds_once_all_its_images_are_stored(queue, submit, worker, audit) -> None:
    await submit(n=2)
    job = await worker.claim(["emoji"])
    assert await worker.progress(job, 13)
    assert await worker.store_image(job, 1, b"b")
    assert await worker.store_image(job, 0, b"a")

    assert await worker.finish(job)

    done = await queue.get(job.id)
    assert (done.status, done.images_done, done.calls_done) == (JobStatus.SUCCEEDED, 2, 13)
    assert done.finished_at >= done.started_at
    assert done.error is None
    assert [await queue.image(job.id, k) for k in (0, 1)] == [b"a", b"b"]
    await audit()


async def test_warnings_are_told_with_the_job_and_replaced_together(queue, submit, worker) -> None:
    submitted = await submit()
    job = await worker.claim(["emoji"])
    assert (submitted.warnings, job.warnings) == ((), ())

    assert await worker.warn(job, ["prompt: „Bär“ is cut off", "second"])
    assert (await queue.get(job.id)).warnings == ("prompt: „Bär“ is cut off", "second")
    assert await worker.warn(job, [])
    assert (await queue.get(job.id)).warnings == ()


async def test_a_job_with_missing_images_cannot_succeed(queue, submit, worker) -> None:
    await submit(n=2)
    job = await worker.claim(["emoji"])
    await worker.store_image(job, 0, b"a")

    assert not await worker.finish(job)

    back = await queue.get(job.id)
    assert (back.status, back.attempts) == (JobStatus.QUEUED, 1)


async def test_storing_an_image_again_changes_nothing(queue, submit, worker) -> None:
    await submit(n=2)
    job = await worker.claim(["emoji"])

    assert await worker.store_image(job, 0, b"a")
    assert await worker.store_image(job, 0, b"a")

    assert (await queue.get(job.id)).images_done == 1
    assert [e["type"] for _, e in await queue.events(job.id)].count("image") == 1


async def test_an_ending_repeated_under_its_lease_gets_the_same_answer(submit, worker) -> None:
    await submit()
    good = await worker.claim(["emoji"])
    await worker.store_image(good, 0, b"a")
    await submit()
    bad = await worker.claim(["emoji"])

    assert [await worker.finish(good) for _ in range(2)] == [True, True]
    assert [await worker.fail(bad, "broken") for _ in range(2)] == [True, True]
    assert not await worker.fail(good, "too late")
    assert not await worker.finish(bad)


async def test_every_transition_is_refused_after_a_cancellation(
    queue, submit, worker, audit
) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    cancelled = await queue.cancel(job.id)

    assert not await worker.warn(job, ["too late"])
    assert not await worker.progress(job, 1)
    assert not await worker.store_preview(job, 0, 1, b"p")
    assert not await worker.store_image(job, 0, b"a")
    assert not await worker.finish(job)
    assert not await worker.fail(job, "reason")
    assert not await worker.retry(job, "reason")
    assert not await worker.requeue(job)
    assert await worker.renew([job]) == [job.id]
    assert await queue.get(job.id) == cancelled
    await audit()


async def test_a_lease_is_void_once_the_job_has_been_claimed_again_even_by_the_same_worker(
    queue, submit, worker, audit
) -> None:
    await submit()
    old = await worker.claim(["emoji"])
    await worker.requeue(old)
    new = await worker.claim(["emoji"])

    assert (old.worker, old.attempts) == (new.worker, new.attempts)
    assert not await worker.warn(old, ["stale"])
    assert not await worker.progress(old, 1)
    assert not await worker.store_image(old, 0, b"stale")
    assert not await worker.finish(old)
    assert not await worker.fail(old, "stale")
    assert await worker.renew([old]) == [old.id]
    assert await worker.store_image(new, 0, b"fresh")
    assert await worker.finish(new)
    assert await queue.image(new.id, 0) == b"fresh"
    await audit()


async def test_a_failed_job_says_why_and_leaves_a_dead_letter(
    queue, submit, worker, redis, audit
) -> None:
    await submit()
    job = await worker.claim(["emoji"])

    assert await worker.fail(job, "sampler: no such table")

    failed = await queue.get(job.id)
    assert (failed.status, failed.error) == (JobStatus.FAILED, "sampler: no such table")
    [(_, letter)] = await redis.xrange(keys.DEAD_LETTERS)
    assert letter == {
        b"job": job.id.encode(),
        b"model": b"emoji",
        b"attempts": b"1",
        b"reason": b"sampler: no such table",
    }
    await audit()


async def test_a_retried_job_runs_again_until_its_attempts_are_used_up(
    queue, submit, worker, redis, audit
) -> None:
    await submit()
    for attempt in (1, 2, 3):
        job = await worker.claim(["emoji"])
        assert job.attempts == attempt
        assert await redis.xlen(keys.DEAD_LETTERS) == 0
        assert await worker.retry(job, "engine fault")
        await audit()

    assert await worker.claim(["emoji"]) is None
    failed = await queue.get(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error == "engine fault (attempt 3 of 3)"
    assert await redis.xlen(keys.DEAD_LETTERS) == 1


async def test_a_drained_job_returns_to_the_front_and_its_attempt_is_not_counted(
    queue, submit, worker, other_worker, audit
) -> None:
    first, second = await submit(), await submit()
    job = await worker.claim(["emoji"])
    await worker.progress(job, 7)

    assert await worker.requeue(job)

    waiting = await queue.get(first.id)
    assert (waiting.status, waiting.attempts, waiting.calls_done) == ("queued", 0, 0)
    assert (waiting.worker, waiting.started_at) == (None, None)
    _, event = (await queue.events(first.id))[-1]
    assert (event["type"], event["reason"]) == ("requeued", "its worker is shutting down")
    await audit()
    again = await other_worker.claim(["emoji"])
    assert (again.id, again.attempts, again.claims) == (first.id, 1, 2)
    assert (await other_worker.claim(["emoji"])).id == second.id


async def test_a_returned_job_can_be_cancelled(queue, submit, worker, audit) -> None:
    job = await submit()
    await worker.requeue(await worker.claim(["emoji"]))

    assert (await queue.cancel(job.id)).status is JobStatus.CANCELLED
    assert await worker.claim(["emoji"]) is None
    await audit()


async def test_images_stored_before_a_redelivery_are_kept(queue, submit, worker) -> None:
    await submit(n=2)
    job = await worker.claim(["emoji"])
    await worker.store_image(job, 0, b"a")
    await worker.requeue(job)
    again = await worker.claim(["emoji"])

    assert again.images_done == 1
    assert await worker.store_image(again, 0, b"a")
    assert await worker.store_image(again, 1, b"b")
    assert await worker.finish(again)


async def test_renewing_nothing_needs_no_server() -> None:
    unreachable = Leases(connect("redis://127.0.0.1:1"), "w")

    assert await unreachable.renew([]) == []


async def test_cancelling_and_finishing_at_once_end_every_job_exactly_once(
    queue, submit, worker, redis_url, audit
) -> None:
    client = connect(redis_url)
    finisher = Leases(client, "worker-a")
    for _ in range(20):
        await submit()
        job = await worker.claim(["emoji"])
        await worker.store_image(job, 0, b"a")

        cancelled, finished = await asyncio.gather(queue.cancel(job.id), finisher.finish(job))

        assert finished == (cancelled.status is JobStatus.SUCCEEDED)
        assert await queue.get(job.id) == cancelled
    await audit()
    await client.aclose()
