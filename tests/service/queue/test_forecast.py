import pytest

from service.queue import keys
from service.queue.forecast import RETRY_WITHOUT_WORKERS_S, Forecast, retry_after_s
from service.queue.registry import Registry


async def test_a_model_nobody_asked_for_has_no_backlog(redis) -> None:
    backlog = await Forecast(redis).backlog("emoji")

    assert backlog.jobs == {"high": 0, "normal": 0, "low": 0}
    assert (backlog.queued, backlog.running, backlog.sample_steps) == (0, 0, 0)
    assert backlog.oldest_wait_s == 0.0


async def test_a_backlog_counts_queued_and_running_jobs_of_its_model_only(
    redis, submit, worker
) -> None:
    await submit("cats", cost=1000)
    await submit(cost=10, priority="high")
    for priority, cost in (("high", 20), ("normal", 30), ("low", 40), ("low", 50)):
        await submit(cost=cost, priority=priority)
    await worker.claim(["emoji"])

    backlog = await Forecast(redis).backlog("emoji")

    assert backlog.jobs == {"high": 1, "normal": 1, "low": 2}
    assert (backlog.queued, backlog.running, backlog.sample_steps) == (4, 1, 140)


async def test_the_oldest_wait_is_that_of_the_oldest_job_whatever_its_priority(
    redis, submit
) -> None:
    low = await submit(priority="low")
    await submit(priority="high")
    await redis.hset(keys.JOB + low.id, "created_at", str(low.created_at - 90.0))

    backlog = await Forecast(redis).backlog("emoji")

    assert 90.0 <= backlog.oldest_wait_s < 95.0


async def test_a_position_is_the_number_of_jobs_that_go_first(redis, submit, worker) -> None:
    forecast = Forecast(redis)
    low = await submit(priority="low")
    normal = await submit()
    high = await submit(priority="high")

    assert [await forecast.position(job) for job in (high, normal, low)] == [0, 1, 2]
    await worker.claim(["emoji"])
    assert [await forecast.position(job) for job in (high, normal, low)] == [None, 0, 1]


async def test_the_eta_of_a_queued_job_is_its_work_and_the_work_ahead_at_the_announced_rate(
    redis, submit, card_of
) -> None:
    await Registry(redis).announce("a", [card_of("emoji")], {"emoji": 50.0})
    for _ in range(3):
        await submit(cost=100)
    last = await submit(cost=100)

    assert await Forecast(redis).eta_s(last) == pytest.approx(4 * 100 / 50)


async def test_the_eta_of_a_queued_job_counts_what_running_jobs_still_need(
    redis, submit, worker, card_of
) -> None:
    await Registry(redis).announce("a", [card_of("emoji")], {"emoji": 50.0})
    await submit(cost=1000)
    running = await worker.claim(["emoji"])
    calls = running.request.n * running.request.steps
    await worker.progress(running, calls // 2)
    queued = await submit(cost=100)

    assert await Forecast(redis).eta_s(queued) == pytest.approx((500 + 100) / 50)


async def test_there_is_no_eta_while_no_worker_announces_a_rate(redis, submit) -> None:
    assert await Forecast(redis).eta_s(await submit()) is None


async def test_the_eta_of_a_running_job_follows_its_own_pace(redis, queue, submit, worker) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    await worker.progress(job, 4)
    await redis.hset(keys.JOB + job.id, "started_at", str(job.started_at - 8.0))

    eta_s = await Forecast(redis).eta_s(await queue.get(job.id))

    assert eta_s == pytest.approx(8.0 * 6 / 4, rel=0.1)


async def test_a_finished_job_needs_no_more_time(redis, queue, submit) -> None:
    job = await queue.cancel((await submit()).id)

    assert await Forecast(redis).eta_s(job) == 0.0


def test_a_place_is_expected_after_one_mean_job() -> None:
    assert retry_after_s(10, 4000, 50.0) == pytest.approx(8.0)


def test_nobody_is_told_to_retry_within_a_second() -> None:
    assert retry_after_s(10, 10, 1000.0) == 1.0


def test_without_workers_the_retry_is_about_the_time_that_one_needs_to_start() -> None:
    assert retry_after_s(10, 4000, 0.0) == RETRY_WITHOUT_WORKERS_S
