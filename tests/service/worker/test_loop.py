"""The worker against a real Redis: nothing is lost, doubled or left behind."""

import asyncio
import io
import threading

import numpy as np
import pytest
from PIL import Image

from service.errors import EngineFault, PreviewNotReady, QueueUnavailable
from service.queue.jobs import JobStatus
from service.queue.leases import Leases

pytestmark = pytest.mark.redis


async def outcome(jobs, job, timeout_s=10.0):
    return await jobs.wait(job.id, timeout_s)


async def leaves(jobs, job, status):
    """Wait until a job is no longer in a state."""
    for _ in range(1000):
        if (await jobs.get(job.id)).status is not status:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"job {job.id} is still {status}")


async def called(engine, times=1):
    """Wait until the engine has made so many more calls."""
    for _ in range(times):
        assert await asyncio.to_thread(engine.called.acquire, timeout=10)


async def test_unlike_jobs_run_together_and_every_image_is_its_own(
    jobs, working, fake_engine, make_request
):
    engine = fake_engine(capacity=4)
    engine.gate.clear()
    requests = [
        make_request(steps=2, seed=10),
        make_request(steps=9, seed=20, n=2, guidance=3.0),
        make_request(steps=5, seed=30, n=3),
    ]
    submitted = [await jobs.enqueue(r, cost=1) for r in requests]
    async with working(engine):
        for job in submitted:
            await leaves(jobs, job, JobStatus.QUEUED)
        engine.gate.set()
        for job, wanted in zip(submitted, requests, strict=True):
            done = await outcome(jobs, job)
            assert (done.status, done.images_done) == (JobStatus.SUCCEEDED, wanted.n)
            for k in range(wanted.n):
                image = Image.open(io.BytesIO(await jobs.image(job.id, k)))
                assert (np.asarray(image) == wanted.seed + k).all()
    assert max(len(slots) for slots in engine.calls) == 4


async def test_a_cancelled_job_frees_its_slots_at_once(jobs, working, fake_engine, make_request):
    engine = fake_engine(capacity=1)
    long = await jobs.enqueue(make_request(steps=100_000), cost=1)
    async with working(engine):
        await called(engine)
        waiting = await jobs.enqueue(make_request(steps=1, seed=9), cost=1)
        assert (await jobs.cancel(long.id)).status is JobStatus.CANCELLED
        assert (await outcome(jobs, waiting)).status is JobStatus.SUCCEEDED
    assert (await jobs.get(long.id)).status is JobStatus.CANCELLED
    assert len(engine.calls) < 100_000


async def test_a_stop_lets_running_jobs_finish(jobs, working, fake_engine, make_request):
    engine = fake_engine()
    engine.gate.clear()
    job = await jobs.enqueue(make_request(), cost=1)
    async with working(engine) as (task, stop):
        await leaves(jobs, job, JobStatus.QUEUED)
        stop.set()
        engine.gate.set()
        await asyncio.wait_for(task, 10)
        assert (await jobs.get(job.id)).status is JobStatus.SUCCEEDED


async def test_what_a_drain_cannot_finish_goes_back_and_another_worker_takes_it(
    jobs, working, fake_engine, make_request
):
    slow = fake_engine()
    slow.gate.clear()
    job = await jobs.enqueue(make_request(), cost=1)
    async with working(slow, drain_s=0.0) as (task, stop):
        await leaves(jobs, job, JobStatus.QUEUED)
        stop.set()
        await leaves(jobs, job, JobStatus.RUNNING)
        slow.gate.set()
        await asyncio.wait_for(task, 10)
    given_back = await jobs.get(job.id)
    assert (given_back.status, given_back.attempts) == (JobStatus.QUEUED, 0)
    async with working(fake_engine(), worker_id="w2"):
        assert (await outcome(jobs, job)).status is JobStatus.SUCCEEDED


async def test_an_engine_fault_ends_the_worker_and_the_job_gets_another_attempt(
    jobs, working, fake_engine, make_request
):
    broken = fake_engine()
    broken.fail_at = 2
    job = await jobs.enqueue(make_request(), cost=1)
    async with working(broken) as (task, _):
        with pytest.raises(EngineFault, match="device on fire"):
            await asyncio.wait_for(task, 10)
    retried = await jobs.get(job.id)
    assert (retried.status, retried.attempts) == (JobStatus.QUEUED, 1)
    async with working(fake_engine(), worker_id="w2"):
        assert (await outcome(jobs, job)).status is JobStatus.SUCCEEDED


async def test_a_job_that_breaks_every_engine_ends_failed_with_the_reason(
    jobs, working, fake_engine, make_request
):
    job = await jobs.enqueue(make_request(), cost=1)
    for attempt in range(2):
        broken = fake_engine()
        broken.fail_at = 1
        async with working(broken, worker_id=f"w{attempt}") as (task, _):
            with pytest.raises(EngineFault):
                await asyncio.wait_for(task, 10)
    failed = await jobs.get(job.id)
    assert failed.status is JobStatus.FAILED
    assert "device on fire" in (failed.error or "")


async def test_a_plan_the_engine_does_not_offer_fails_the_job_and_not_the_worker(
    jobs, working, fake_engine, make_request, monkeypatch
):
    monkeypatch.setattr("service.worker.loop.HEARTBEAT_S", 60.0)  # its slot is free before that
    bad = await jobs.enqueue(make_request(sampler="euler"), cost=1)
    good = await jobs.enqueue(make_request(), cost=1)
    async with working(fake_engine(capacity=1)):
        failed = await outcome(jobs, bad)
        assert failed.status is JobStatus.FAILED
        assert "sampler: got 'euler'" in (failed.error or "")
        assert (await outcome(jobs, good)).status is JobStatus.SUCCEEDED


async def test_two_models_tick_side_by_side(jobs, working, fake_engine, make_request):
    engines = fake_engine(model="one"), fake_engine(model="two")
    submitted = [
        await jobs.enqueue(make_request(model=model, seed=seed), cost=1)
        for seed, model in enumerate(["one", "two", "one", "two"])
    ]
    async with working(*engines):
        for job in submitted:
            assert (await outcome(jobs, job)).status is JobStatus.SUCCEEDED
    assert all(engine.calls for engine in engines)


async def test_ticks_and_waits_are_measured(jobs, working, fake_engine, make_request, metrics):
    job = await jobs.enqueue(make_request(n=2, steps=3, guidance=2.0), cost=12)
    async with working(fake_engine()):
        await outcome(jobs, job)
    assert metrics.sample_steps.labels("fake")._value.get() == 12
    assert metrics.images.labels("fake")._value.get() == 2


async def test_a_job_this_version_cannot_read_fails_alone(
    jobs, redis, working, fake_engine, make_request
):
    strange = await jobs.enqueue(make_request(), cost=1)
    plain = await jobs.enqueue(make_request(), cost=1)
    key = f"{{dimr}}:job:{strange.id}"
    newer = await redis.hget(key, "request")
    await redis.hset(key, "request", newer.replace(b'"n":1', b'"n":1,"flavour":"mint"'))
    async with working(fake_engine()) as (task, _):
        assert (await outcome(jobs, plain)).status is JobStatus.SUCCEEDED
        assert not task.done()
    assert await redis.hget(key, "status") == b"failed"


async def test_a_class_the_model_does_not_have_fails_the_job_and_not_the_engine(
    jobs, working, fake_engine, make_request
):
    job = await jobs.enqueue(make_request(label=7), cost=1)
    async with working(fake_engine()) as (task, _):
        failed = await outcome(jobs, job)
        assert failed.status is JobStatus.FAILED
        assert "class_label: got 7" in (failed.error or "")
        assert not task.done()


async def test_images_that_the_server_lost_are_drawn_again(
    jobs, redis, working, fake_engine, make_request
):
    engine = fake_engine(capacity=1)
    engine.pause_at = 4  # within the second image
    job = await jobs.enqueue(make_request(n=2, steps=3), cost=1)
    async with working(engine):
        for _ in range(1000):
            if await redis.delete(f"{{dimr}}:images:{job.id}"):
                break
            await asyncio.sleep(0.01)
        engine.gate.set()
        done = await outcome(jobs, job)
        assert (done.status, done.attempts) == (JobStatus.SUCCEEDED, 2)


async def test_an_error_while_delivering_ends_the_worker_instead_of_holding_the_job(
    jobs, working, fake_engine, make_request
):
    engine = fake_engine()
    engine.decode = lambda slot: lambda: "not pixels"
    job = await jobs.enqueue(make_request(), cost=1)
    async with working(engine) as (task, _):
        with pytest.raises(EngineFault):
            await asyncio.wait_for(task, 10)
    assert (await jobs.get(job.id)).status is JobStatus.QUEUED


async def test_a_worker_that_claims_its_own_lost_job_again_serves_it_once(
    jobs, redis, working, fake_engine, make_request
):
    engine = fake_engine()
    engine.gate.clear()
    job = await jobs.enqueue(make_request(n=2), cost=1)
    async with working(engine) as (task, _):
        await leaves(jobs, job, JobStatus.QUEUED)
        other = Leases(redis, "other", lease_s=0.0, max_attempts=9)
        assert len((await other.reap()).requeued) == 1
        await leaves(jobs, job, JobStatus.QUEUED)  # the same worker again, the only one
        engine.gate.set()
        done = await outcome(jobs, job)
        assert (done.status, done.images_done) == (JobStatus.SUCCEEDED, 2)
        assert not task.done()


async def preview_of(jobs, previews, job, index, timeout_s=10.0):
    """The first preview of an image that can be read."""
    async with asyncio.timeout(timeout_s):
        while index not in await previews.present(await jobs.get(job.id)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return await previews.newest(await jobs.get(job.id), index)


async def test_a_running_job_shows_its_images_and_then_only_the_finished_ones(
    jobs, previews, working, fake_prompt_engine, make_prompt_request
):
    engine = fake_prompt_engine()
    engine.pause_at = 1
    job = await jobs.enqueue(make_prompt_request("owl", n=2, steps=5), cost=1)
    async with working(engine):
        for index in range(2):
            preview = await preview_of(jobs, previews, job, index)
            image = Image.open(io.BytesIO(preview.png))
            assert (image.size, preview.calls_done) == ((2, 2), 1)
            assert (np.asarray(image) == 4).all()
        engine.gate.set()
        done = await outcome(jobs, job)
    assert done.status is JobStatus.SUCCEEDED
    assert await previews.present(done) == {}
    with pytest.raises(PreviewNotReady, match="the job is succeeded"):
        await previews.newest(done, 0)
    events = [event for _, event in await jobs.events(job.id)]
    shown = [(e["index"], e["calls_done"]) for e in events if e["type"] == "preview"]
    assert {(0, 1), (1, 1)} <= set(shown)


async def test_what_the_engine_says_about_a_prompt_is_told_with_the_job(
    jobs, working, fake_prompt_engine, make_prompt_request
):
    engine = fake_prompt_engine()
    long = await jobs.enqueue(make_prompt_request("owl in a tree"), cost=1)
    short = await jobs.enqueue(make_prompt_request("owl"), cost=1)
    empty = await jobs.enqueue(make_prompt_request(""), cost=1)
    async with working(engine):
        told = [await outcome(jobs, job) for job in (long, short, empty)]
    assert [job.status for job in told] == [JobStatus.SUCCEEDED] * 3
    assert [job.warnings for job in told] == [("prompt: the model reads owl only",), (), ()]


class OutageAtWarnings(Leases):
    """Redis is away for the first `refusals` warnings of all."""

    refusals = 1

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.refused = 0

    async def warn(self, job, warnings):
        if self.refused < self.refusals:
            self.refused += 1
            msg = "away"
            raise QueueUnavailable(msg)
        return await super().warn(job, warnings)


class NoWarnings(OutageAtWarnings):
    """Redis never takes a warning."""

    refusals = 1_000_000


async def test_an_outage_while_a_notice_is_told_costs_the_job_neither_attempt_nor_lease(
    jobs, working, fake_prompt_engine, make_prompt_request, monkeypatch
):
    monkeypatch.setattr("service.worker.patience.RETRY_S", 0.01)
    job = await jobs.enqueue(make_prompt_request("owl in a tree"), cost=1)
    async with working(fake_prompt_engine(), leases=OutageAtWarnings):
        done = await outcome(jobs, job)
    assert (done.status, done.attempts, done.claims) == (JobStatus.SUCCEEDED, 1, 1)
    assert done.warnings == ("prompt: the model reads owl only",)


async def test_a_worker_that_stops_before_a_notice_is_told_gives_the_job_back_untried(
    jobs, working, fake_prompt_engine, make_prompt_request, caplog
):
    job = await jobs.enqueue(make_prompt_request("owl in a tree"), cost=1)
    async with working(fake_prompt_engine(), leases=NoWarnings, drain_s=60.0) as (task, stop):
        async with asyncio.timeout(10):
            while "queue unavailable" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(task, 10)
    given_back = await jobs.get(job.id)
    assert (given_back.status, given_back.attempts) == (JobStatus.QUEUED, 0)


async def test_an_error_in_a_notice_ends_the_worker_and_the_job_gets_another_attempt(
    jobs, working, fake_prompt_engine, make_prompt_request
):
    def notice(prompt):
        msg = "no such token"
        raise ValueError(msg)

    job = await jobs.enqueue(make_prompt_request("owl"), cost=1)
    ends = []
    for attempt in range(2):
        broken = fake_prompt_engine()
        broken.notice = notice
        async with working(broken, worker_id=f"w{attempt}") as (task, _):
            with pytest.raises(ValueError, match="no such token"):
                await asyncio.wait_for(task, 10)
        ended = await jobs.get(job.id)
        ends.append((ended.status, ended.attempts))
    assert ends == [(JobStatus.QUEUED, 1), (JobStatus.FAILED, 2)]
    assert "ValueError: no such token" in (ended.error or "")


class SlowReader:
    """A notice that takes until `gate` is set."""

    def __init__(self):
        self.began, self.gate = threading.Event(), threading.Event()

    def notice(self, prompt):
        self.began.set()
        self.gate.wait(10)
        return "prompt: read"


@pytest.fixture
def slow_reader():
    reader = SlowReader()
    yield reader
    reader.gate.set()


async def test_a_job_whose_prompt_is_still_read_keeps_its_lease(
    jobs, working, fake_prompt_engine, make_prompt_request, monkeypatch, slow_reader
):
    renewed = asyncio.Event()

    class ObservedLeases(Leases):
        async def renew(self, held):
            lost = await super().renew(held)
            if held and not lost:
                renewed.set()
            return lost

    monkeypatch.setattr("service.worker.loop.HEARTBEAT_S", 0.01)
    engine = fake_prompt_engine()
    engine.notice = slow_reader.notice
    job = await jobs.enqueue(make_prompt_request("owl"), cost=1)
    async with working(engine, leases=ObservedLeases):
        await asyncio.wait_for(renewed.wait(), 10)
        slow_reader.gate.set()
        assert (await outcome(jobs, job)).warnings == ("prompt: read",)


async def test_a_job_that_is_cancelled_while_its_prompt_is_read_is_not_begun(
    jobs, working, fake_prompt_engine, make_prompt_request, slow_reader
):
    engine = fake_prompt_engine()
    engine.notice = slow_reader.notice
    cancelled = await jobs.enqueue(make_prompt_request("owl", seed=1), cost=1)
    async with working(engine):
        assert await asyncio.to_thread(slow_reader.began.wait, 10)
        other = await jobs.enqueue(make_prompt_request("owl", steps=2), cost=1)
        await jobs.cancel(cancelled.id)
        slow_reader.gate.set()
        assert (await outcome(jobs, other)).status is JobStatus.SUCCEEDED
    assert (await jobs.get(cancelled.id)).status is JobStatus.CANCELLED
    assert len(engine.calls) == 2


async def test_a_stop_does_not_wait_for_a_prompt_to_be_read_to_give_its_job_back(
    jobs, working, fake_prompt_engine, make_prompt_request, slow_reader
):
    engine = fake_prompt_engine()
    engine.notice = slow_reader.notice
    job = await jobs.enqueue(make_prompt_request("owl"), cost=1)
    async with working(engine, drain_s=60.0) as (task, stop):
        assert await asyncio.to_thread(slow_reader.began.wait, 10)
        stop.set()
        await leaves(jobs, job, JobStatus.RUNNING)
        assert not task.done()  # engines are closed once nobody uses them
        slow_reader.gate.set()
        await asyncio.wait_for(task, 10)
    given_back = await jobs.get(job.id)
    assert (given_back.status, given_back.attempts) == (JobStatus.QUEUED, 0)


async def test_a_size_is_passed_on_to_the_engine(
    jobs, working, fake_prompt_engine, make_prompt_request
):
    requests = [make_prompt_request("owl", size=size) for size in (2, 4, 3)]
    submitted = [await jobs.enqueue(request, cost=1) for request in requests]
    async with working(fake_prompt_engine()):
        small, large, other = [await outcome(jobs, job) for job in submitted]
    for job, side in ((small, 2), (large, 4)):
        assert Image.open(io.BytesIO(await jobs.image(job.id, 0))).size == (side, side)
    assert other.error == "size: got 3; allowed: (2, 4)"


async def test_models_of_classes_and_of_prompts_share_a_worker(
    jobs, working, fake_engine, fake_prompt_engine, make_request, make_prompt_request
):
    engines = fake_engine(model="classes"), fake_prompt_engine(model="prompts")
    requests = [
        make_request(model="classes"),
        make_prompt_request("owl", model="prompts"),
        make_prompt_request("owl", model="classes"),
        make_request(model="prompts"),
    ]
    submitted = [await jobs.enqueue(request, cost=1) for request in requests]
    async with working(*engines):
        done = [await outcome(jobs, job) for job in submitted]
    assert [job.status.value for job in done] == ["succeeded", "succeeded", "failed", "failed"]
    assert done[2].error == "model: got 'classes'; allowed: a model that draws from a prompt"
    assert done[3].error == "class_label: got 0; allowed: none, prompts draws from a prompt"


async def test_a_prompt_that_the_engine_refuses_fails_its_job_and_not_the_worker(
    jobs, working, fake_prompt_engine, make_prompt_request, metrics
):
    bad = await jobs.enqueue(make_prompt_request("chaos", n=6), cost=1)
    good = await jobs.enqueue(make_prompt_request("owl"), cost=1)
    async with working(fake_prompt_engine()) as (task, _):
        failed = await outcome(jobs, bad)
        assert (failed.status, failed.error) == (
            JobStatus.FAILED,
            "prompt: got chaos; allowed: order",
        )
        assert (await outcome(jobs, good)).status is JobStatus.SUCCEEDED
        assert not task.done()
    assert metrics.dead_letter.labels("fake")._value.get() == 1


async def test_neither_log_nor_metrics_tell_a_prompt(
    jobs, working, fake_prompt_engine, make_prompt_request, metrics, caplog
):
    caplog.set_level("DEBUG")
    for subject in ("xylophone in a tree", "xylophone"):
        job = await jobs.enqueue(make_prompt_request(subject), cost=1)
        async with working(fake_prompt_engine()):
            assert (await outcome(jobs, job)).status is JobStatus.SUCCEEDED
    assert "job finished" in caplog.text
    assert not any("xylophone" in str(record.__dict__) for record in caplog.records)
