"""The engine thread: it alone steps the engines, and never waits for Redis, images or encoders.

Work comes in through a queue; what comes of it goes out through callbacks that must not block. Each
model has a lane (engine and scheduler); of those with work, the one that has used least of the
engine's time ticks next, so that a model of slow calls does not starve one of fast ones.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from service.cards import ModelCard
from service.engine import Engine, Pixels
from service.metrics import Metrics
from service.queue.jobs import PRIORITIES, ImageRequest, Job
from service.worker.scheduler import Item, Scheduler

logger = logging.getLogger(__name__)

RATE_MEMORY = 0.9  # weight of the past in the running average of sample-steps per second


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """Image `index` of a job, (H, W, 3)."""

    job_id: str
    index: int
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class TakenPreview:
    """What image `index` of a job looks like after `calls_done` calls, (h, w, 3)."""

    job_id: str
    index: int
    calls_done: int
    pixels: Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Where a ticker says what happened; all of it is called on the engine thread.

    Attributes:
        on_image: for each finished image.
        on_call: with a job id after each network call of one of its images.
        on_preview: for each preview of an image that is not finished.
        on_refusal: with a job id and the reason where the engine refused to draw it.
        on_fault: once, when an engine raised; the thread ends.
    """

    on_image: Callable[[FinishedImage], object]
    on_call: Callable[[str], object]
    on_preview: Callable[[TakenPreview], object]
    on_refusal: Callable[[str, str], object]
    on_fault: Callable[[BaseException], object]


@dataclass(slots=True)
class Owed:
    """A job, how many of its images are not finished yet, and when previews are due."""

    request: ImageRequest
    images: int
    preview_at: float = 0.0  # by the monotonic clock; the first call is shown at once


@dataclass(slots=True)
class Lane:
    """One model: its engine, its policy, and the jobs whose images it still owes."""

    engine: Engine
    scheduler: Scheduler
    rows_per_s: float
    card: ModelCard
    used_s: float = 0.0  # engine time; a lane that was idle joins at the least of the busy ones
    owed: dict[str, Owed] = field(default_factory=dict)


class Ticker:
    """Runs all lanes on one thread until told to stop.

    Invariant: between ticks every slot of an engine is free or holds exactly the image that the
    lane's scheduler says.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        metrics: Metrics,
        reports: Reports,
        *,
        preview_s: float,
    ) -> None:
        """Prepare without starting.

        Args:
            engines: by model id.
            metrics: tick and stage histograms.
            reports: where to say what happened.
            preview_s: seconds between two previews of the images of one job, at least.
        """
        self._lanes = {
            model: Lane(
                engine,
                Scheduler(engine.capacity, 2 * engine.capacity),
                engine.rows_per_s,
                ModelCard.model_validate(engine.card),
            )
            for model, engine in engines.items()
        }
        self._metrics = metrics
        self._reports = reports
        self._preview_s = preview_s
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        """Start the engine thread."""
        self._thread.start()

    def submit(self, job: Job, plan: Sequence[int]) -> None:
        """Let the images of a job wait for slots; returns at once.

        Args:
            job: what was claimed.
            plan: network rows of each call of one image, from `Engine.plan`.
        """
        self._orders.put(lambda: self._submit(job, plan))

    def withdraw(self, model: str, job_id: str) -> None:
        """Drop a job's images before the next tick; unknown jobs are ignored."""
        self._orders.put(lambda: self._withdraw(model, job_id))

    def stop(self) -> None:
        """End the thread after the tick in progress and wait for it."""
        self._orders.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def rates(self) -> dict[str, float]:
        """Sample-steps (network rows of the largest size) per second of each model, lately.

        Lanes share the engine thread evenly, so each gets its part of it.
        """
        busy = [lane for _, lane in self._busy()]
        return {
            model: lane.rows_per_s / len([lane, *(other for other in busy if other is not lane)])
            for model, lane in self._lanes.items()
        }

    def _run(self) -> None:
        try:
            while self._obey():
                model, lane = min(self._busy(), key=lambda busy: busy[1].used_s)
                self._tick(model, lane)
        except Exception as error:  # the one place that must outlive any engine: report, then end
            logger.exception("engine fault")
            self._reports.on_fault(error)

    def _busy(self) -> list[tuple[str, Lane]]:
        """Lanes that have something to tick."""
        return [named for named in self._lanes.items() if not named[1].scheduler.idle]

    def _obey(self) -> bool:
        """Carry out all orders; blocks while there is nothing to tick; False at the end."""
        while True:
            try:
                order = self._orders.get(block=not self._busy())
            except queue.Empty:
                return True
            if order is None:
                return False
            order()

    def _submit(self, job: Job, plan: Sequence[int]) -> None:
        lane = self._lanes[job.request.model]
        if lane.scheduler.idle:  # time that it did not ask for gives it no claim
            lane.used_s = min((busy.used_s for _, busy in self._busy()), default=0.0)
        lane.owed[job.id] = Owed(job.request, job.request.n)
        for index in range(job.request.n):
            item = Item(
                job.id,
                index,
                plan,
                arrived=job.created_at,
                priority=PRIORITIES.index(job.priority),
                tenant=job.tenant,
                deadline=job.deadline_at,
                row_cost=lane.card.row_cost(job.request.size),
            )
            lane.scheduler.submit(item)

    def _withdraw(self, model: str, job_id: str) -> None:
        begun = self._forget(self._lanes[model], job_id)
        self._metrics.images_wasted.labels(model, "withdrawn").inc(begun)

    def _forget(self, lane: Lane, job_id: str) -> int:
        """Drop a job's images and free their slots; returns how many slots that were."""
        lane.owed.pop(job_id, None)
        slots = lane.scheduler.withdraw(job_id)
        for slot in slots:
            lane.engine.release(slot)
        return len(slots)

    def _tick(self, model: str, lane: Lane) -> None:
        """Admit, make one network call for the selected slots, hand out what has finished."""
        metrics, scheduler, reports = self._metrics, lane.scheduler, self._reports
        self._admit(model, lane)
        slots = scheduler.select()
        if not slots:  # the engine refused whatever there was
            return
        running = scheduler.running
        rows = sum(running[slot].next_rows for slot in slots)
        work = sum(running[slot].next_rows * running[slot].row_cost for slot in slots)
        began = time.perf_counter()
        finished = lane.engine.step(slots)
        seconds = time.perf_counter() - began
        scheduler.advance(slots)
        self._account(model, lane, slots=len(slots), rows=rows, seconds=seconds)
        lane.used_s += seconds
        lane.rows_per_s += (1 - RATE_MEMORY) * (work / seconds - lane.rows_per_s)
        for slot in slots:
            reports.on_call(running[slot].job_id)
        for slot in finished:
            with metrics.stage_seconds.labels(model, "decode").time():
                pixels = lane.engine.decode(slot)
            item = scheduler.retire(slot)
            owed = lane.owed[item.job_id]
            owed.images -= 1
            if owed.images == 0:
                del lane.owed[item.job_id]
            reports.on_image(FinishedImage(item.job_id, item.index, pixels))
        if lane.card.previews:
            self._preview(model, lane, slots)

    def _admit(self, model: str, lane: Lane) -> None:
        """Give waiting images their slots; a job that the engine refuses is dropped."""
        for slot, item in lane.scheduler.admit(time.time()):
            if item.job_id not in lane.owed:  # refused with an image before
                continue
            request = lane.owed[item.job_id].request
            try:
                with self._metrics.stage_seconds.labels(model, "admit").time():
                    lane.engine.admit(
                        slot,
                        condition=request.condition,
                        seed=request.seed + item.index,
                        steps=request.steps,
                        sampler=request.sampler,
                        guidance=request.guidance,
                        size=request.size,
                    )
            except ValueError as error:
                self._forget(lane, item.job_id)
                self._reports.on_refusal(item.job_id, str(error))

    def _preview(self, model: str, lane: Lane, slots: Sequence[int]) -> None:
        """Hand out what unfinished images look like, of each job that is due."""
        now = time.monotonic()
        running = lane.scheduler.running
        due = {job_id for job_id, owed in lane.owed.items() if owed.preview_at <= now}
        for slot in slots:
            item = running.get(slot)
            if item is None or item.job_id not in due:
                continue
            lane.owed[item.job_id].preview_at = now + self._preview_s
            with self._metrics.stage_seconds.labels(model, "preview").time():
                pixels = lane.engine.preview(slot)
            if pixels is not None:
                taken = TakenPreview(item.job_id, item.index, item.done, pixels)
                self._reports.on_preview(taken)

    def _account(self, model: str, lane: Lane, *, slots: int, rows: int, seconds: float) -> None:
        metrics = self._metrics
        bucket = str(1 << (rows - 1).bit_length())  # next power of two
        metrics.tick_seconds.labels(model, bucket).observe(seconds)
        metrics.stage_seconds.labels(model, "denoise").observe(seconds)
        metrics.tick_batch_size.labels(model).observe(slots)
        metrics.tick_rows.labels(model).observe(rows)
        metrics.sample_steps.labels(model).inc(rows)
