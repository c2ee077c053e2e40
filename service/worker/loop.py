"""The worker: claims jobs, lets the ticker step them, encodes and stores what comes out.

Everything here is one asyncio loop; the engine thread is reached through `Ticker` and answers
through callbacks. A job is held from `claim` until it is finished, lost or given back, and its
lease is renewed all the while, so whatever dies, another worker takes over what was held.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from service.cards import ModelCard
from service.engine import Engine
from service.errors import EngineFault, QueueUnavailable, RequestRejected
from service.images import encode_png
from service.metrics import Metrics
from service.queue.jobs import Job
from service.queue.leases import Leases
from service.queue.registry import Registry
from service.queue.signals import Wakeups
from service.worker.ticker import FinishedImage, Reports, TakenPreview, Ticker

logger = logging.getLogger(__name__)

T = TypeVar("T")

HEARTBEAT_S = 1.0  # leases and cards are renewed this often
PROGRESS_S = 0.25  # progress and previews of a job are published at most this often
RETRY_S = 0.5  # pause after Redis did not answer


@dataclass(slots=True)
class Held:
    """A claimed job and how far it is."""

    job: Job
    calls_done: int = 0
    calls_told: int = 0
    stored: set[int] = field(default_factory=set)
    previewing: set[int] = field(default_factory=set)  # images with a preview on its way


@dataclass(frozen=True, slots=True)
class Ports:
    """What a worker needs of the queue."""

    leases: Leases
    registry: Registry
    wakeups: Wakeups
    cancellations: Callable[[], AsyncIterator[str]]


class Worker:
    """One worker process. `run` returns when it has drained, or raises what broke it."""

    def __init__(
        self,
        worker_id: str,
        engines: Mapping[str, Engine],
        ports: Ports,
        metrics: Metrics,
        *,
        drain_s: float,
        encoders: int = 2,
    ) -> None:
        """Prepare; nothing starts before `run`.

        Args:
            worker_id: unique among workers.
            engines: by model id; the worker owns them from here on.
            ports: the queue.
            metrics: where to count.
            drain_s: seconds that held jobs get to finish after a stop was asked for.
            encoders: threads that encode images.
        """
        self._id = worker_id
        self._engines = engines
        self._cards = {
            model: ModelCard.model_validate(engine.card) for model, engine in engines.items()
        }
        self._ports = ports
        self._metrics = metrics
        self._drain_s = drain_s
        for card in self._cards.values():
            facts = (str(card.engine[name]) for name in ("backend", "precision", "device"))
            metrics.engine_info.labels(card.id, *facts).set(1)
        self._encoders = ThreadPoolExecutor(encoders, thread_name_prefix="encoder")
        self._held: dict[str, Held] = {}
        self._changed = asyncio.Event()  # something was delivered or dropped
        self._fault: asyncio.Future[None] | None = None
        self._deliveries: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain.

        Raises:
            EngineFault: an engine raised; held jobs have been given back for another attempt.
            Exception: whatever else ended one of the loops below; jobs are given back as well.
        """
        loop = asyncio.get_running_loop()
        self._fault = loop.create_future()
        later = loop.call_soon_threadsafe
        reports = Reports(
            on_image=lambda image: later(self._deliver, image),
            on_call=lambda job_id: later(self._count_call, job_id),
            on_preview=lambda preview: later(self._show, preview),
            on_refusal=lambda job_id, reason: later(self._refuse, job_id, reason),
            on_fault=lambda error: later(self._break, error),
        )
        ticker = Ticker(self._engines, self._metrics, reports, preview_s=PROGRESS_S)
        self._ticker = ticker
        ticker.start()
        services = [
            asyncio.create_task(service())
            for service in (self._keep_leases, self._tell_progress, self._obey_cancellations)
        ]
        claiming = asyncio.create_task(self._claim_jobs())
        stopped = asyncio.create_task(stop.wait())
        try:
            everything: list[asyncio.Future[Any]] = [stopped, self._fault, claiming, *services]
            done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            await _end(stopped, claiming)
            await self._drain()
            await _end(*services)
            with contextlib.suppress(QueueUnavailable):
                await self._ports.registry.withdraw(self._id)
            await asyncio.to_thread(ticker.stop)
            self._encoders.shutdown()
            if not self._fault.done():  # after a fault an engine is not to be touched again
                for engine in self._engines.values():
                    engine.close()

    async def _claim_jobs(self) -> None:
        """Claim whenever a lane has room for more images than it holds."""
        while True:
            self._changed.clear()
            models = self._models_with_room()
            if not models:
                await self._changed.wait()
                continue
            job = await self._patiently(partial(self._claim, models))
            if job is None:
                await self._patiently(partial(self._ports.wakeups.wait_for_work, HEARTBEAT_S))
                continue
            await self._take(job)

    async def _claim(self, models: Sequence[str]) -> Job | None:
        """Claim a job; one that is claimed just as the worker stops goes straight back."""
        claim = asyncio.ensure_future(self._claim_and_warn(models))
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            with contextlib.suppress(QueueUnavailable):
                job = await claim
                if job is not None:
                    await self._ports.leases.requeue(job)
            raise

    async def _claim_and_warn(self, models: Sequence[str]) -> Job | None:
        """Claim a job and store with it what its engine says about its prompt."""
        job = await self._ports.leases.claim(models)
        if job is None or isinstance(job.request.condition, int):
            return job
        engine = self._engines[job.request.model]
        notice = await asyncio.to_thread(engine.notice, job.request.condition)
        warnings = () if notice is None else (notice,)
        if warnings != job.warnings and not await self._ports.leases.warn(job, warnings):
            return None
        return job

    async def _take(self, job: Job) -> None:
        """Hand a claimed job to the ticker, or fail it when its engine cannot run it."""
        request = job.request
        self._drop(job.id)  # an earlier claim of it, whose lease ran out unnoticed
        try:
            self._cards[request.model].check_condition(request.condition)
            plan = self._engines[request.model].plan(
                steps=request.steps,
                sampler=request.sampler,
                guidance=request.guidance,
                size=request.size,
            )
        except (ValueError, RequestRejected) as error:
            await self._fail(job, str(error))
            return
        waited = (job.started_at or job.created_at) - job.created_at
        self._metrics.queue_wait_seconds.labels(request.model).observe(waited)
        self._held[job.id] = Held(job)
        self._ticker.submit(job, plan)

    async def _fail(self, job: Job, reason: str) -> None:
        """End a job that no other attempt can help."""
        if await self._patiently(partial(self._ports.leases.fail, job, reason)):
            self._metrics.requests.labels(job.request.model, "failed").inc()
            self._metrics.dead_letter.labels(job.request.model).inc()

    def _refuse(self, job_id: str, reason: str) -> None:
        """Fail a job whose images the engine refused to begin."""
        held = self._held.pop(job_id, None)
        if held is not None:
            self._changed.set()
            self._spawn(self._fail(held.job, reason))

    def _models_with_room(self) -> Sequence[str]:
        """Models whose slots are not all spoken for, the emptiest first."""
        spoken_for = dict.fromkeys(self._engines, 0)
        for held in self._held.values():
            spoken_for[held.job.request.model] += held.job.request.n - len(held.stored)
        room = {m: engine.capacity - spoken_for[m] for m, engine in self._engines.items()}
        return sorted((m for m in room if room[m] > 0), key=lambda m: -room[m])

    def _deliver(self, image: FinishedImage) -> None:
        """Start encoding and storing."""
        self._spawn(self._store(image))

    def _show(self, preview: TakenPreview) -> None:
        """Start showing a preview, unless the one before it is still on its way."""
        held = self._held.get(preview.job_id)
        if held is not None and preview.index not in held.previewing:
            held.previewing.add(preview.index)
            self._spawn(self._store_preview(held, preview))

    def _spawn(self, delivery: Coroutine[Any, Any, None]) -> None:
        """Run something beside the loops; keeps the task alive until it is done."""
        task = asyncio.create_task(delivery)
        self._deliveries.add(task)
        task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a job whose image is gone would be held for ever
            self._break(error)

    async def _store(self, image: FinishedImage) -> None:
        """Encode one image, store it, and finish its job when it was the last."""
        held = self._held.get(image.job_id)
        if held is None:
            return
        job, model = held.job, held.job.request.model
        loop = asyncio.get_running_loop()
        with self._metrics.stage_seconds.labels(model, "encode").time():
            png = await loop.run_in_executor(
                self._encoders, encode_png, image.pixels, job.request, image.index
            )
        leases = self._ports.leases
        with self._metrics.stage_seconds.labels(model, "store").time():
            ours = await self._patiently(partial(leases.store_image, job, image.index, png))
        if not ours:
            self._drop(job.id)
            return
        self._metrics.images.labels(model).inc()
        held.stored.add(image.index)
        self._changed.set()
        if len(held.stored) == job.request.n:
            if await self._patiently(partial(leases.finish, job)):
                self._metrics.requests.labels(model, "ok").inc()
                self._metrics.e2e_seconds.labels(model).observe(time.time() - job.created_at)
                logger.info("job finished", extra={"job_id": job.id, "images": job.request.n})
            self._held.pop(job.id, None)
            self._changed.set()

    async def _store_preview(self, held: Held, preview: TakenPreview) -> None:
        """Encode and store a preview; without Redis it is lost, and the next one will do."""
        job, index, calls_done = held.job, preview.index, preview.calls_done
        png = await asyncio.get_running_loop().run_in_executor(
            self._encoders, encode_png, preview.pixels, job.request, index, calls_done
        )
        with contextlib.suppress(QueueUnavailable):
            await self._ports.leases.store_preview(job, index, calls_done, png)
        held.previewing.discard(index)

    async def _keep_leases(self) -> None:
        """Once a second: renew leases, announce the models, give back what dead workers held."""
        ports = self._ports
        cards = list(self._cards.values())
        while True:
            with contextlib.suppress(QueueUnavailable):
                claimed = {job_id: held.job for job_id, held in self._held.items()}
                for job_id in await ports.leases.renew(list(claimed.values())):
                    held = self._held.get(job_id)
                    if held is not None and held.job.claims == claimed[job_id].claims:
                        self._drop(job_id)
            with contextlib.suppress(QueueUnavailable):
                await ports.registry.announce(self._id, cards, self._ticker.rates())
            with contextlib.suppress(QueueUnavailable):
                reaped = await ports.leases.reap()
                for _, model in reaped.requeued:
                    self._metrics.redeliveries.labels(model).inc()
                for _, model in reaped.dead:
                    self._metrics.dead_letter.labels(model).inc()
                    self._metrics.requests.labels(model, "failed").inc()
                for _, model in reaped.expired:
                    self._metrics.requests.labels(model, "expired").inc()
            await asyncio.sleep(HEARTBEAT_S)

    async def _tell_progress(self) -> None:
        """Publish how far each held job is, a few times a second at most."""
        while True:
            await asyncio.sleep(PROGRESS_S)
            for held in list(self._held.values()):
                if held.calls_done > held.calls_told:
                    held.calls_told = held.calls_done
                    with contextlib.suppress(QueueUnavailable):
                        await self._ports.leases.progress(held.job, held.calls_told)

    async def _obey_cancellations(self) -> None:
        """Drop jobs the moment their callers cancel them."""
        async for job_id in self._ports.cancellations():
            self._drop(job_id)

    def _count_call(self, job_id: str) -> None:
        held = self._held.get(job_id)
        if held is not None:
            held.calls_done += 1

    def _drop(self, job_id: str) -> None:
        """Forget a job that is no longer ours and free its slots."""
        held = self._held.pop(job_id, None)
        if held is not None:
            self._ticker.withdraw(held.job.request.model, job_id)
            self._changed.set()
            logger.info("job dropped", extra={"job_id": job_id})

    def _break(self, error: BaseException) -> None:
        assert self._fault is not None
        if not self._fault.done():
            fault = EngineFault(f"{type(error).__name__}: {error}")
            fault.__cause__ = error
            self._fault.set_exception(fault)

    async def _drain(self) -> None:
        """Let held jobs finish within `drain_s`, then give the rest back."""
        assert self._fault is not None
        broken = self._fault.done()
        deadline = asyncio.get_running_loop().time() + (0.0 if broken else self._drain_s)
        while self._held and not self._fault.done():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, HEARTBEAT_S)):
                    await self._changed.wait()
        given_back = list(self._held.values())
        for held in given_back:
            self._drop(held.job.id)
        for held in given_back:
            with contextlib.suppress(QueueUnavailable):  # the lease will expire instead
                if self._fault.done():
                    await self._ports.leases.retry(held.job, str(self._fault.exception()))
                else:
                    await self._ports.leases.requeue(held.job)
        logger.info("worker drained", extra={"given_back": len(given_back)})

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a queue call until Redis answers; the lease decides what that is still worth."""
        while True:
            try:
                return await call()
            except QueueUnavailable as error:
                logger.warning("queue unavailable", extra={"reason": str(error)})
                await asyncio.sleep(RETRY_S)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are over, however they end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
