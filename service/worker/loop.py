"""The worker: claims jobs, lets the ticker step them, keeps their leases and gives them back.

Everything here is one asyncio loop; the engine thread is reached through `Ticker` and answers
through callbacks; what it made goes to the queue through `Delivery`. A job is held from `claim`
until it is finished, lost or given back, and its lease is renewed all the while, so whatever dies,
another worker takes over what was held.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from service.cards import ModelCard
from service.engine import Engine
from service.errors import EngineFault, QueueUnavailable, RequestRejected
from service.metrics import Metrics
from service.queue.jobs import Job
from service.queue.leases import Leases
from service.queue.registry import Registry
from service.queue.signals import Wakeups
from service.worker.delivery import Delivery, Held
from service.worker.patience import patiently
from service.worker.ticker import Reports, Ticker

logger = logging.getLogger(__name__)

HEARTBEAT_S = 1.0  # leases and cards are renewed this often
PROGRESS_S = 0.25  # progress and previews of a job are published at most this often


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
            encoders: threads that encode images and let engines read prompts.
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
        self._delivery = Delivery(
            ports.leases,
            metrics,
            self._encoders,
            self._held,
            on_lost=self._drop,
            on_change=self._changed.set,
            on_fault=self._break,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain.

        Raises:
            EngineFault: an engine raised; held jobs have been given back for another attempt.
            Exception: whatever else ended one of the loops below; jobs are given back as well.
        """
        loop = asyncio.get_running_loop()
        self._fault = loop.create_future()
        later, delivery = loop.call_soon_threadsafe, self._delivery
        reports = Reports(
            on_image=lambda image: later(delivery.deliver, image),
            on_call=lambda job_id: later(delivery.count_call, job_id),
            on_preview=lambda preview: later(delivery.show, preview),
            on_refusal=lambda job_id, reason: later(delivery.refuse, job_id, reason),
            on_fault=lambda error: later(self._break, error),
        )
        ticker = self._ticker = Ticker(self._engines, self._metrics, reports, preview_s=PROGRESS_S)
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
            await asyncio.to_thread(self._encoders.shutdown)
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
            job = await patiently(partial(self._claim, models))
            if job is None:
                await patiently(partial(self._ports.wakeups.wait_for_work, HEARTBEAT_S))
                continue
            await self._take(job)

    async def _claim(self, models: Sequence[str]) -> Job | None:
        """Claim a job; one that is claimed just as the worker stops goes straight back."""
        claim = asyncio.ensure_future(self._ports.leases.claim(models))
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            with contextlib.suppress(QueueUnavailable):
                job = await claim
                if job is not None:
                    await self._give_back(job, None)
            raise

    async def _take(self, job: Job) -> None:
        """Hold a claimed job and begin it; whatever prevents that, the job goes back."""
        self._drop(job.id)  # an earlier claim of it, whose lease ran out unnoticed
        self._held[job.id] = Held(job)
        try:
            await self._begin(job)
        except asyncio.CancelledError:  # the worker stops
            await self._give_back(job, None)
            raise
        except Exception as error:  # nothing else would end the job: it is not with the ticker
            await self._give_back(job, f"{type(error).__name__}: {error}")
            raise

    async def _begin(self, job: Job) -> None:
        """Hand a held job to the ticker, or fail it when its engine cannot run it."""
        request = job.request
        if not await self._told(job):
            self._drop(job.id)
        if job.id not in self._held:  # lost, or cancelled in the meantime
            return
        try:
            self._cards[request.model].check_condition(request.condition)
            plan = self._engines[request.model].plan(
                steps=request.steps,
                sampler=request.sampler,
                guidance=request.guidance,
                size=request.size,
            )
        except (ValueError, RequestRejected) as error:
            await self._delivery.fail(job, str(error))
            self._held.pop(job.id, None)
            return
        waited = (job.started_at or job.created_at) - job.created_at
        self._metrics.queue_wait_seconds.labels(request.model).observe(waited)
        self._ticker.submit(job, plan)

    async def _told(self, job: Job) -> bool:
        """Store with a job what its engine says about its prompt; False when the job is lost."""
        prompt = job.request.condition
        if isinstance(prompt, int):
            return True
        loop, engine = asyncio.get_running_loop(), self._engines[job.request.model]
        notice = await loop.run_in_executor(self._encoders, engine.notice, prompt)
        return await self._delivery.warn(job, () if notice is None else (notice,))

    def _models_with_room(self) -> Sequence[str]:
        """Models whose slots are not all spoken for, the emptiest first."""
        spoken_for = dict.fromkeys(self._engines, 0)
        for held in self._held.values():
            spoken_for[held.job.request.model] += held.job.request.n - len(held.stored)
        room = {m: engine.capacity - spoken_for[m] for m, engine in self._engines.items()}
        return sorted((m for m in room if room[m] > 0), key=lambda m: -room[m])

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
            await self._delivery.tell_progress()

    async def _obey_cancellations(self) -> None:
        """Drop jobs the moment their callers cancel them."""
        async for job_id in self._ports.cancellations():
            self._drop(job_id)

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
        deadline = asyncio.get_running_loop().time() + self._drain_s
        while self._held and not self._fault.done():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, HEARTBEAT_S)):
                    await self._changed.wait()
        reason = str(self._fault.exception()) if self._fault.done() else None
        given_back = list(self._held.values())
        for held in given_back:
            self._drop(held.job.id)
        for held in given_back:
            await self._give_back(held.job, reason)
        logger.info("worker drained", extra={"given_back": len(given_back)})

    async def _give_back(self, job: Job, reason: str | None) -> None:
        """Put a job back in the queue: after a failed attempt with its reason, else untried."""
        self._drop(job.id)
        with contextlib.suppress(QueueUnavailable):  # the lease will expire instead
            if reason is None:
                await self._ports.leases.requeue(job)
            else:
                await self._ports.leases.retry(job, reason)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are over, however they end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
