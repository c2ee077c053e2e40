import asyncio

from service.queue import keys
from service.queue.connection import connect
from service.queue.signals import Wakeups, cancellations, listen


async def test_new_work_wakes_a_waiting_worker(redis, submit, elapsed, subscribed) -> None:
    async with Wakeups(redis) as wakeups:
        await subscribed(keys.WORK)
        await wakeups.wait_for_work(0.0)
        waiting = asyncio.create_task(wakeups.wait_for_work(30.0))
        await submit()
        await waiting

    assert elapsed() < 3.0


async def test_work_that_came_between_two_waits_is_not_slept_through(
    redis, submit, worker, elapsed, subscribed
) -> None:
    async with Wakeups(redis) as wakeups:
        await subscribed(keys.WORK)
        await wakeups.wait_for_work(0.0)
        await submit()
        await wakeups.wait_for_work(30.0)

    assert elapsed() < 3.0


async def test_returned_work_wakes_workers_too(redis, submit, worker, elapsed, subscribed) -> None:
    await submit()
    job = await worker.claim(["emoji"])
    async with Wakeups(redis) as wakeups:
        await subscribed(keys.WORK)
        await wakeups.wait_for_work(0.0)
        await worker.requeue(job)
        await wakeups.wait_for_work(30.0)

    assert elapsed() < 3.0


async def test_a_wait_for_work_ends_when_its_time_is_up(redis, elapsed) -> None:
    async with Wakeups(redis) as wakeups:
        await wakeups.wait_for_work(0.01)
        await wakeups.wait_for_work(0.01)

    assert 0.01 <= elapsed() < 3.0


async def test_workers_hear_of_running_jobs_that_are_cancelled_and_of_no_others(
    redis, queue, submit, worker, subscribed
) -> None:
    heard = cancellations(redis)
    first = asyncio.ensure_future(anext(heard))
    await subscribed(keys.STOPPED)
    await queue.cancel((await submit()).id)
    await submit()
    running = await worker.claim(["emoji"])
    await queue.cancel(running.id)

    assert await asyncio.wait_for(first, 5.0) == running.id
    await heard.aclose()


async def test_a_listener_is_told_when_it_may_have_missed_something(redis, subscribed) -> None:
    heard = listen(redis, "news")
    assert await anext(heard) is None
    await redis.publish("news", "one")
    assert await anext(heard) == "one"
    next_one = asyncio.ensure_future(anext(heard))
    await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    assert await asyncio.wait_for(next_one, 5.0) is None
    await redis.publish("news", "two")
    assert await anext(heard) == "two"
    await heard.aclose()


async def test_a_listener_can_be_cancelled_at_any_moment_of_a_reconnection(
    redis, subscribed
) -> None:
    async def consume() -> None:
        async for _ in listen(redis, "news"):
            pass

    for turns in range(25):
        task = asyncio.create_task(consume())
        await subscribed("news")
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=2.0)
        assert done, f"still listening when cancelled after {turns} turns of the loop"


async def test_waiting_for_work_survives_a_server_that_is_away(elapsed) -> None:
    async with Wakeups(connect("redis://127.0.0.1:1")) as wakeups:
        await wakeups.wait_for_work(0.05)

    assert elapsed() < 3.0
