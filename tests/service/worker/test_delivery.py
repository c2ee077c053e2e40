"""What the queue hears of held jobs, with a real Redis and images made by hand."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.errors import QueueUnavailable
from service.queue.jobs import JobStatus
from service.queue.leases import Leases
from service.worker.delivery import Delivery, Held
from service.worker.ticker import FinishedImage, TakenPreview

pytestmark = pytest.mark.redis

PIXELS = np.zeros((4, 4, 3), np.uint8)


class GatedLeases(Leases):
    """Notes the progress it is told and the previews, (index, calls), which wait for `gate`."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.gate = asyncio.Event()
        self.gate.set()
        self.previews = []
        self.away = False
        self.told = []

    async def progress(self, job, calls_done):
        self.told.append(calls_done)
        return await super().progress(job, calls_done)

    async def store_preview(self, job, index, calls_done, png):
        self.previews.append((index, calls_done))
        await self.gate.wait()
        if self.away:
            msg = "away"
            raise QueueUnavailable(msg)
        return await super().store_preview(job, index, calls_done, png)


def ready():
    """An image that is decoded already."""
    return PIXELS


class Post:
    """A delivery and everything around it."""

    def __init__(self, redis, metrics, encoders):
        self.leases = GatedLeases(redis, "w1", lease_s=5.0, max_attempts=2)
        self.held: dict[str, Held] = {}
        self.lost = []
        self.faults = []
        self.changed = asyncio.Event()
        self.delivery = Delivery(
            self.leases,
            metrics,
            encoders,
            self.held,
            on_lost=self._lose,
            on_change=self.changed.set,
            on_fault=self._fail,
        )

    async def hold(self):
        job = await self.leases.claim(["fake"])
        assert job is not None
        held = self.held[job.id] = Held(job)
        return held

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    def _lose(self, job_id):
        self.lost.append(job_id)
        self.changed.set()

    def _fail(self, error):
        self.faults.append(error)
        self.changed.set()


@pytest.fixture
async def post(redis, metrics):
    with ThreadPoolExecutor(1) as encoders:  # one, so that deliveries keep their order
        post = Post(redis, metrics, encoders)
        yield post
        post.leases.gate.set()


@pytest.fixture
async def held(jobs, post, make_request):
    await jobs.enqueue(make_request(n=2), cost=1)
    return await post.hold()


def preview(held, index, calls_done):
    return TakenPreview(held.job.id, index, calls_done, ready)


async def test_an_image_has_one_preview_on_its_way_and_skips_those_in_between(post, held):
    post.leases.gate.clear()
    for calls_done in range(1, 6):
        post.delivery.show(preview(held, 0, calls_done))
    post.delivery.show(preview(held, 1, 5))
    await post.until(lambda: (1, 5) in post.leases.previews)
    assert post.leases.previews == [(0, 1), (1, 5)]
    post.leases.gate.set()
    await post.until(lambda: not held.previewing)
    post.delivery.show(preview(held, 0, 6))
    await post.until(lambda: not held.previewing)
    assert post.leases.previews == [(0, 1), (1, 5), (0, 6)]


async def test_a_preview_that_redis_did_not_take_makes_way_for_the_next(jobs, previews, post, held):
    post.leases.away = True
    post.delivery.show(preview(held, 0, 1))
    await post.until(lambda: not held.previewing)
    post.leases.away = False
    post.delivery.show(preview(held, 0, 2))
    await post.until(lambda: not held.previewing)
    shown = await previews.newest(await jobs.get(held.job.id), 0)
    assert shown.calls_done == 2
    assert not post.faults


async def test_a_job_ends_with_its_last_image_and_is_held_no_longer(jobs, post, held, metrics):
    post.delivery.deliver(FinishedImage(held.job.id, 1, ready))
    await post.until(lambda: held.stored == {1})
    assert post.held == {held.job.id: held}
    post.delivery.deliver(FinishedImage(held.job.id, 0, ready))
    await post.until(lambda: not post.held)
    done = await jobs.get(held.job.id)
    assert (done.status, done.images_done) == (JobStatus.SUCCEEDED, 2)
    assert metrics.requests.labels("fake", "ok")._value.get() == 1


async def test_an_image_of_a_lost_job_is_told_and_not_counted(jobs, post, held, metrics):
    await jobs.cancel(held.job.id)
    post.delivery.deliver(FinishedImage(held.job.id, 0, ready))
    await asyncio.wait_for(post.changed.wait(), 10)
    assert (post.lost, held.stored) == ([held.job.id], set())
    assert metrics.images.labels("fake")._value.get() == 0


async def test_what_belongs_to_no_held_job_is_thrown_away(jobs, post, held):
    del post.held[held.job.id]
    post.delivery.show(preview(held, 0, 1))
    post.delivery.deliver(FinishedImage(held.job.id, 0, ready))
    post.delivery.refuse(held.job.id, "nobody asked")
    post.delivery.count_call(held.job.id)
    other = post.held["other"] = Held(held.job)  # anything later, to see that all came through
    post.delivery.show(TakenPreview("other", 1, 3, ready))
    await post.until(lambda: post.leases.previews and not other.previewing)
    job = await jobs.get(held.job.id)
    assert (post.leases.previews, job.images_done) == ([(1, 3)], 0)
    assert job.status is JobStatus.RUNNING


async def test_an_image_that_cannot_be_encoded_is_a_fault(post, held):
    post.delivery.deliver(FinishedImage(held.job.id, 0, lambda: PIXELS.astype(np.float32)))
    await asyncio.wait_for(post.changed.wait(), 10)
    assert "float32" in str(post.faults[0])


async def test_an_image_that_is_being_decoded_holds_up_the_encoder_alone(jobs, post, held):
    decoded = threading.Event()

    def decoding():
        assert decoded.wait(10)
        return PIXELS

    post.delivery.deliver(FinishedImage(held.job.id, 0, decoding))
    post.delivery.count_call(held.job.id)
    await post.delivery.tell_progress()
    assert post.leases.told == [1]
    assert held.stored == set()
    decoded.set()
    await post.until(lambda: held.stored == {0})


@pytest.mark.parametrize("is_preview", [False, True])
async def test_an_image_that_cannot_be_decoded_is_a_fault(post, held, is_preview):
    def failing():
        msg = "device on fire"
        raise RuntimeError(msg)

    if is_preview:
        post.delivery.show(TakenPreview(held.job.id, 0, 1, failing))
    else:
        post.delivery.deliver(FinishedImage(held.job.id, 0, failing))
    await asyncio.wait_for(post.changed.wait(), 10)
    assert str(post.faults[0]) == "device on fire"


async def test_a_refused_job_ends_failed_with_the_reason(jobs, post, held, metrics):
    post.delivery.refuse(held.job.id, "prompt: got chaos; allowed: order")
    assert not post.held
    failed = await jobs.wait(held.job.id, 10)
    assert failed.error == "prompt: got chaos; allowed: order"
    await post.until(lambda: metrics.dead_letter.labels("fake")._value.get() == 1)


async def test_progress_is_told_once_for_each_change(jobs, post, held):
    for _ in range(3):
        post.delivery.count_call(held.job.id)
    await post.delivery.tell_progress()
    await post.delivery.tell_progress()
    assert post.leases.told == [3]
    assert (await jobs.get(held.job.id)).calls_done == 3


async def test_warnings_are_told_where_they_are_news(jobs, post, held):
    assert await post.delivery.warn(held.job, ["cut off"])
    assert (await jobs.get(held.job.id)).warnings == ("cut off",)
    await jobs.cancel(held.job.id)
    assert await post.delivery.warn(held.job, [])  # as claimed: nothing to tell
    assert not await post.delivery.warn(held.job, ["too late"])
