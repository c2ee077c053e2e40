"""The engine thread by itself."""

import threading
import time
from types import SimpleNamespace

import pytest

from service.queue.jobs import Job
from service.worker.ticker import Reports, Ticker


@pytest.fixture
def make_job(make_request):
    def make(job_id, **changes):
        return Job(id=job_id, request=make_request(**changes), cost=1, created_at=0.0)

    return make


class Outbox:
    """Collects what a ticker hands out and lets a test wait for it."""

    def __init__(self):
        self.images = []
        self.calls = []
        self.previews = []
        self.refusals = []
        self.faults = []
        self.news = threading.Semaphore(0)

    def take(self, list_, value):
        list_.append(value)
        self.news.release()

    def wait_until(self, condition):
        while not condition():
            assert self.news.acquire(timeout=10)


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def start(metrics, outbox):
    tickers = []

    def run(*engines, preview_s=0.0):
        reports = Reports(
            on_image=lambda image: outbox.take(outbox.images, image),
            on_call=lambda job_id: outbox.take(outbox.calls, job_id),
            on_preview=lambda preview: outbox.take(outbox.previews, preview),
            on_refusal=lambda *refusal: outbox.take(outbox.refusals, refusal),
            on_fault=lambda error: outbox.take(outbox.faults, error),
        )
        by_model = {engine.model: engine for engine in engines}
        ticker = Ticker(by_model, metrics, reports, preview_s=preview_s)
        tickers.append((ticker, engines))
        ticker.start()
        return ticker

    yield run
    for ticker, engines in tickers:
        for engine in engines:
            engine.gate.set()
        ticker.stop()


def test_one_call_serves_all_slots(start, fake_engine, make_job, outbox):
    engine = fake_engine(capacity=3)
    engine.gate.clear()
    ticker = start(engine)
    for k in range(3):
        ticker.submit(make_job(f"j{k}", steps=4, seed=k), [1] * 4)
    engine.gate.set()
    outbox.wait_until(lambda: len(outbox.images) == 3)
    assert len(engine.calls) <= 5  # the first may have left before the others came
    assert {(i.job_id, int(i.pixels()[0, 0, 0])) for i in outbox.images} == {
        ("j0", 0),
        ("j1", 1),
        ("j2", 2),
    }
    assert outbox.calls.count("j0") == 4


def test_more_images_than_slots_take_turns(start, fake_engine, make_job, outbox):
    ticker = start(fake_engine(capacity=2))
    ticker.submit(make_job("j", n=5), [1] * 3)
    outbox.wait_until(lambda: len(outbox.images) == 5)
    assert sorted(i.index for i in outbox.images) == [0, 1, 2, 3, 4]


def test_a_withdrawn_job_is_never_handed_out(start, fake_engine, make_job, outbox):
    engine = fake_engine(capacity=2)
    ticker = start(engine)
    ticker.submit(make_job("gone", steps=10**6, n=3), [1] * 10**6)
    outbox.wait_until(lambda: outbox.calls)
    ticker.withdraw("fake", "gone")
    ticker.withdraw("fake", "never there")
    ticker.submit(make_job("stays"), [1] * 3)
    outbox.wait_until(lambda: outbox.images)
    assert [i.job_id for i in outbox.images] == ["stays"]


def test_a_fault_is_reported_once_and_ends_the_thread(start, fake_engine, make_job, outbox):
    engine = fake_engine()
    engine.fail_at = 2
    ticker = start(engine)
    ticker.submit(make_job("j"), [1] * 3)
    outbox.wait_until(lambda: outbox.faults)
    ticker.stop()
    assert [str(fault) for fault in outbox.faults] == ["device on fire"]
    assert len(engine.calls) == 2


def test_the_measured_rate_is_published(start, fake_engine, make_job, outbox):
    ticker = start(fake_engine())
    assert ticker.rates() == {"fake": 1.0}
    ticker.submit(make_job("j"), [2] * 3)
    outbox.wait_until(lambda: outbox.images)
    assert ticker.rates()["fake"] > 1


def test_rows_of_a_small_size_say_little_of_the_rate(
    start, fake_prompt_engine, make_prompt_request, outbox
):
    engine = fake_prompt_engine()
    engine.row_costs = dict.fromkeys(engine.sizes, 1e-12)
    ticker = start(engine)
    (model,) = ticker.rates()
    job = Job(id="j", request=make_prompt_request("owl", n=1), cost=1, created_at=0.0)
    ticker.submit(job, [2] * 3)
    outbox.wait_until(lambda: outbox.images)
    assert ticker.rates()[model] < 1


def test_each_unfinished_image_is_shown_after_each_call(
    start, fake_prompt_engine, make_prompt_request, outbox
):
    job = Job(id="j", request=make_prompt_request("owl", n=2), cost=1, created_at=0.0)
    start(fake_prompt_engine()).submit(job, [1] * 3)
    outbox.wait_until(lambda: len(outbox.images) == 2)
    shown = [(p.job_id, p.index, p.calls_done, int(p.pixels()[0, 0, 0])) for p in outbox.previews]
    assert sorted(shown) == [("j", 0, 1, 2), ("j", 0, 2, 1), ("j", 1, 1, 2), ("j", 1, 2, 1)]


def test_previews_of_a_job_keep_their_distance_and_those_of_another_come_at_once(
    start, fake_prompt_engine, make_prompt_request, outbox
):
    ticker = start(fake_prompt_engine(), preview_s=3600.0)
    for name in ("one", "two"):
        request = make_prompt_request("owl", n=2, steps=9)
        ticker.submit(Job(id=name, request=request, cost=1, created_at=0.0), [1] * 9)
    outbox.wait_until(lambda: len(outbox.images) == 4)
    shown = sorted((p.job_id, p.index, p.calls_done) for p in outbox.previews)
    assert shown == [("one", 0, 1), ("one", 1, 1), ("two", 0, 1), ("two", 1, 1)]


def test_a_job_that_the_engine_refuses_leaves_its_slots_to_others(
    start, fake_prompt_engine, make_prompt_request, outbox
):
    ticker = start(fake_prompt_engine(capacity=2))
    for name, subject in (("bad", "chaos"), ("good", "owl")):
        request = make_prompt_request(subject, n=3)
        ticker.submit(Job(id=name, request=request, cost=1, created_at=0.0), [1] * 3)
    outbox.wait_until(lambda: len(outbox.images) == 3)
    assert outbox.refusals == [("bad", "prompt: got chaos; allowed: order")]
    assert {image.job_id for image in outbox.images} == {"good"}
    assert outbox.faults == []


@pytest.fixture
def engines_of(fake_engine, monkeypatch):
    """Engines by name whose calls take so many seconds of a clock that stands still otherwise."""
    clock = SimpleNamespace(now=0.0, time=time.time, monotonic=time.monotonic)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr("service.worker.ticker.time", clock)

    def make(**seconds):
        return [timed(fake_engine(model=name), taken) for name, taken in seconds.items()]

    def timed(engine, seconds):
        step = engine.step

        def step_and_take(slots):
            clock.now += seconds
            return step(slots)

        engine.step = step_and_take
        return engine

    return make


def test_a_model_of_slow_calls_leaves_the_others_their_half_of_the_time(
    start, engines_of, make_job, outbox
):
    slow, fast = engines_of(slow=10.0, fast=1.0)
    slow.gate.clear()
    ticker = start(slow, fast)
    ticker.submit(make_job("long", model="slow", steps=100), [1] * 100)
    ticker.submit(make_job("short", model="fast", steps=20), [1] * 20)
    slow.gate.set()
    outbox.wait_until(lambda: len(outbox.images) == 2)
    assert [image.job_id for image in outbox.images] == ["short", "long"]
    last = len(outbox.calls) - outbox.calls[::-1].index("short")
    assert 2 <= outbox.calls[:last].count("long") <= 4


def test_a_model_that_has_worked_for_long_owes_nothing_to_one_that_was_idle(
    start, engines_of, make_job, outbox
):
    first, second = engines_of(first=1.0, second=1.0)
    ticker = start(first, second)
    ticker.submit(make_job("before", model="first", steps=100), [1] * 100)
    outbox.wait_until(lambda: outbox.images)
    first.gate.clear()
    ticker.submit(make_job("old", model="first", steps=10), [1] * 10)
    ticker.submit(make_job("new", model="second", steps=50), [1] * 50)
    first.gate.set()
    outbox.wait_until(lambda: len(outbox.images) == 3)
    assert [image.job_id for image in outbox.images] == ["before", "old", "new"]
