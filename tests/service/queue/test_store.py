import asyncio
import contextlib

import pytest

from service.errors import IdempotencyClash, ImageNotReady, JobNotFound, QueueFull
from service.queue import keys
from service.queue.connection import connect
from service.queue.jobs import Job, JobStatus
from service.queue.registry import Registry
from service.queue.store import JobQueue


async def test_a_submitted_job_is_queued_with_what_was_asked(queue, submit, request_of) -> None:
    job = await submit(tenant="acme", priority="low", n=2, cost=40, deadline_s=30.0)

    assert job == await queue.get(job.id)
    assert job.status is JobStatus.QUEUED
    assert (job.tenant, job.priority, job.cost) == ("acme", "low", 40)
    assert job.request == request_of(n=2)
    assert job.deadline_at == pytest.approx(job.created_at + 30.0, abs=1e-5)


async def test_an_unknown_job_is_not_found_by_any_method(queue) -> None:
    for call in (
        queue.get("nope"),
        queue.cancel("nope"),
        queue.wait("nope", 1.0),
        queue.image("nope", 0),
        queue.events("nope"),
    ):
        with pytest.raises(JobNotFound, match="'nope'"):
            await call


async def test_the_same_key_and_body_return_the_same_job_even_when_the_queue_is_full(
    queue, submit, redis
) -> None:
    first = await submit(idempotency_key="k", body=b"{}")
    with contextlib.suppress(QueueFull):
        while True:
            await submit()

    again = await submit(idempotency_key="k", body=b"{}")

    assert again == first


async def test_a_repeated_key_ignores_differences_that_the_caller_did_not_send(
    queue, request_of
) -> None:
    first = await queue.enqueue(request_of(seed=1), cost=1, idempotency_key="k", body=b"{}")
    again = await queue.enqueue(request_of(seed=2), cost=1, idempotency_key="k", body=b"{}")

    assert again == first


async def test_the_same_key_with_another_request_clashes_and_names_the_job(
    queue, request_of
) -> None:
    first = await queue.enqueue(request_of(seed=1), cost=1, idempotency_key="k")

    with pytest.raises(IdempotencyClash, match=first.id):
        await queue.enqueue(request_of(seed=2), cost=1, idempotency_key="k")


async def test_a_submission_repeated_after_a_lost_reply_makes_no_second_job(
    submit, redis, monkeypatch: pytest.MonkeyPatch, audit
) -> None:
    monkeypatch.setattr("service.queue.store.new_job_id", lambda _: "one-and-the-same")

    assert await submit() == await submit()

    assert await redis.xlen(f"{keys.STREAM}emoji:normal") == 1
    await audit()


async def test_tenants_do_not_share_idempotency_keys(submit) -> None:
    first = await submit(tenant="ab", idempotency_key="c")
    second = await submit(tenant="a", idempotency_key="bc")

    assert first.id != second.id


async def test_one_key_sent_many_times_at_once_makes_one_job(redis_url, request_of) -> None:
    clients = [connect(redis_url) for _ in range(6)]
    queues = [JobQueue(client) for client in clients]

    jobs = await asyncio.gather(
        *(q.enqueue(request_of(), cost=1, idempotency_key="k") for q in queues)
    )

    assert len({job.id for job in jobs}) == 1
    await asyncio.gather(*(client.aclose() for client in clients))


async def test_an_idempotency_key_lives_as_long_as_its_job_and_longer_than_the_images(
    queue, submit, worker, redis
) -> None:
    job = await submit(idempotency_key="k")
    record = keys.idempotency("anonymous", "k")
    assert await redis.pttl(record) == -1
    claimed = await worker.claim(["emoji"])
    await worker.store_image(claimed, 0, b"png")
    await worker.finish(claimed)

    assert 100_000 < await redis.pttl(record) <= 120_000
    assert 100_000 < await redis.pttl(keys.JOB + job.id) <= 120_000
    assert 50_000 < await redis.pttl(keys.IMAGES + job.id) <= 60_000
    assert (await submit(idempotency_key="k")).status is JobStatus.SUCCEEDED


async def test_the_bound_of_the_queue_is_exact_under_concurrent_submissions(
    redis_url, request_of, queue, audit
) -> None:
    clients = [connect(redis_url) for _ in range(8)]
    queues = [JobQueue(client, queue_limit=8) for client in clients]

    outcomes = await asyncio.gather(
        *(queues[k % 8].enqueue(request_of(), cost=1) for k in range(40)), return_exceptions=True
    )

    assert sum(isinstance(outcome, QueueFull) for outcome in outcomes) == 32
    assert sum(isinstance(outcome, Job) for outcome in outcomes) == 8
    await audit()
    await asyncio.gather(*(client.aclose() for client in clients))


async def test_each_model_has_its_own_bound(submit) -> None:
    for _ in range(8):
        await submit("emoji")

    assert (await submit("cats")).status is JobStatus.QUEUED
    with pytest.raises(QueueFull, match="emoji holds 8 of at most 8"):
        await submit("emoji")


async def test_a_claimed_job_makes_room_in_a_full_queue(submit, worker) -> None:
    for _ in range(8):
        await submit()
    await worker.claim(["emoji"])

    assert (await submit()).status is JobStatus.QUEUED


async def test_a_full_queue_says_when_a_place_is_likely_from_its_cost_and_the_announced_rates(
    submit, redis, card_of
) -> None:
    registry = Registry(redis)
    await registry.announce("a", [card_of("emoji")], {"emoji": 30.0})
    await registry.announce("b", [card_of("emoji")], {"emoji": 10.0})
    for _ in range(8):
        await submit(cost=200)

    with pytest.raises(QueueFull) as full:
        await submit()

    assert full.value.retry_after_s == pytest.approx(200 / 40)


async def test_a_cancelled_queued_job_leaves_the_stream_at_once(
    queue, submit, worker, redis, audit
) -> None:
    job = await submit()

    cancelled = await queue.cancel(job.id)

    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.finished_at >= cancelled.created_at
    assert await redis.xlen(f"{keys.STREAM}emoji:normal") == 0
    assert await worker.claim(["emoji"]) is None
    await audit()


async def test_cancelling_again_changes_nothing(queue, submit) -> None:
    job = await submit()
    first = await queue.cancel(job.id)

    assert await queue.cancel(job.id) == first
    assert [event["type"] for _, event in await queue.events(job.id)] == ["queued", "cancelled"]


async def test_cancelling_a_succeeded_job_returns_it_as_it_is(queue, submit, worker) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    await worker.store_image(job, 0, b"png")
    await worker.finish(job)

    assert (await queue.cancel(job.id)).status is JobStatus.SUCCEEDED


async def test_an_image_can_be_fetched_while_its_job_still_runs(queue, submit, worker) -> None:
    await submit(n=2)
    job = await worker.claim(["emoji"])
    await worker.store_image(job, 1, b"\x89PNG\r\n\x00\xff")

    assert await queue.image(job.id, 1) == b"\x89PNG\r\n\x00\xff"
    with pytest.raises(ImageNotReady, match="no image 0: the job is running"):
        await queue.image(job.id, 0)
    with pytest.raises(ImageNotReady, match="its images are 0 to 1"):
        await queue.image(job.id, 2)


async def test_images_and_jobs_expire_after_their_time(
    redis, request_of, worker, until_true
) -> None:
    async with JobQueue(redis, result_ttl_s=0.02, idempotency_ttl_s=0.02) as brief:
        job = await brief.enqueue(request_of(), cost=1, idempotency_key="k")
        claimed = await worker.claim(["emoji"])
        await worker.store_image(claimed, 0, b"png")
        await worker.finish(claimed)

        async def all_gone() -> bool:
            return not [k async for k in redis.scan_iter(f"*{job.id}*")]

        await until_true(all_gone)
        with pytest.raises(JobNotFound):
            await brief.image(job.id, 0)


async def test_images_that_expired_before_their_job_say_so(queue, submit, worker, redis) -> None:
    await submit(idempotency_key="k")
    job = await worker.claim(["emoji"])
    await worker.store_image(job, 0, b"png")
    await worker.finish(job)
    await redis.pexpire(keys.IMAGES + job.id, 0)

    with pytest.raises(ImageNotReady, match="no longer kept"):
        await queue.image(job.id, 0)


async def test_events_tell_the_life_of_a_job_and_resume_after_any_of_them(
    queue, submit, worker
) -> None:
    await submit(n=1)
    job = await worker.claim(["emoji"])
    await worker.progress(job, 5)
    await worker.store_image(job, 0, b"png")
    await worker.finish(job)

    events = await queue.events(job.id)

    assert [event["type"] for _, event in events] == [
        "queued",
        "started",
        "step",
        "image",
        "succeeded",
    ]
    assert events[2][1]["calls_done"] == 5
    assert events[1][1]["at"] == pytest.approx(job.started_at, abs=0.01)
    assert await queue.events(job.id, events[2][0]) == events[3:]
    assert await queue.events(job.id, events[-1][0]) == []


async def test_the_events_of_a_job_are_bounded(queue, submit, worker) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    for calls in range(0, keys.EVENTS_KEPT + 50, 50):
        await asyncio.gather(*(worker.progress(job, calls + k) for k in range(50)))

    assert len(await queue.events(job.id)) == keys.EVENTS_KEPT
