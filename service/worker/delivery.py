"""What the queue hears of held jobs: their progress, previews and images, and how they end.

Everything runs in tasks of one asyncio loop, and waiting for decoded images and encoding them on
threads, so that nothing here holds up the engine or another job.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from service.errors import QueueUnavailable
from service.images import encode_png
from service.metrics import Metrics
from service.queue.jobs import Job
from service.queue.leases import Leases
from service.worker.patience import patiently
from service.worker.ticker import FinishedImage, TakenPreview

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Held:
    """A claimed job and how far it is."""

    job: Job
    calls_done: int = 0
    calls_told: int = 0
    stored: set[int] = field(default_factory=set)
    previewing: set[int] = field(default_factory=set)  # images with a preview on its way


class Delivery:
    """Takes what an engine made of held jobs to the queue.

    What belongs to a job that is not held is thrown away. A job leaves `held` when all its images
    are stored or the engine has refused it.
    """

    def __init__(
        self,
        leases: Leases,
        metrics: Metrics,
        encoders: Executor,
        held: MutableMapping[str, Held],
        *,
        on_lost: Callable[[str], object],
        on_change: Callable[[], object],
        on_fault: Callable[[BaseException], object],
    ) -> None:
        """Prepare; needs a running loop only from the first delivery on.

        Args:
            leases: where to.
            metrics: where to count.
            encoders: what encodes images; stays the caller's to shut down.
            held: by job id; shared with the caller, who adds jobs and may remove them any time.
            on_lost: with the id of a held job that turned out to be no longer this worker's.
            on_change: after an image was stored or a job has left `held`.
            on_fault: when a delivery failed for good, and with it all that would end its job.
        """
        self._leases = leases
        self._metrics = metrics
        self._encoders = encoders
        self._held = held
        self._on_lost = on_lost
        self._on_change = on_change
        self._on_fault = on_fault
        self._deliveries: set[asyncio.Task[None]] = set()

    def deliver(self, image: FinishedImage) -> None:
        """Start encoding and storing."""
        self._spawn(self._store(image))

    def show(self, preview: TakenPreview) -> None:
        """Start showing a preview, unless the one before it is still on its way."""
        held = self._held.get(preview.job_id)
        if held is not None and preview.index not in held.previewing:
            held.previewing.add(preview.index)
            self._spawn(self._store_preview(held, preview))

    def refuse(self, job_id: str, reason: str) -> None:
        """Fail a job whose images the engine refused to begin."""
        held = self._held.pop(job_id, None)
        if held is not None:
            self._on_change()
            self._spawn(self.fail(held.job, reason))

    def count_call(self, job_id: str) -> None:
        """Note one more network call, to be told with the next progress."""
        held = self._held.get(job_id)
        if held is not None:
            held.calls_done += 1

    async def tell_progress(self) -> None:
        """Publish how far the held jobs are that have moved since the last time."""
        for held in list(self._held.values()):
            if held.calls_done > held.calls_told:
                held.calls_told = held.calls_done
                with contextlib.suppress(QueueUnavailable):
                    await self._leases.progress(held.job, held.calls_told)

    async def warn(self, job: Job, warnings: Sequence[str]) -> bool:
        """Make these all that the caller is told about the request; False when the job is lost."""
        told = tuple(warnings) == job.warnings
        return told or await patiently(partial(self._leases.warn, job, warnings))

    async def fail(self, job: Job, reason: str) -> None:
        """End a job that no other attempt can help."""
        if await patiently(partial(self._leases.fail, job, reason)):
            self._metrics.requests.labels(job.request.model, "failed").inc()
            self._metrics.dead_letter.labels(job.request.model).inc()

    def _spawn(self, delivery: Coroutine[Any, Any, None]) -> None:
        """Run something beside the rest; keeps the task alive until it is done."""
        task = asyncio.create_task(delivery)
        self._deliveries.add(task)
        task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a job whose image is gone would be held for ever
            self._on_fault(error)

    async def _store(self, image: FinishedImage) -> None:
        """Encode one image, store it, and finish its job when it was the last."""
        held = self._held.get(image.job_id)
        if held is None:
            return
        job, model = held.job, held.job.request.model
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._encoders, image.pixels)
        with self._metrics.stage_seconds.labels(model, "encode").time():
            png = await loop.run_in_executor(
                self._encoders, encode_png, pixels, job.request, image.index
            )
        with self._metrics.stage_seconds.labels(model, "store").time():
            ours = await patiently(partial(self._leases.store_image, job, image.index, png))
        if not ours:
            if self._held.get(job.id) is held:  # and not claimed again meanwhile
                self._on_lost(job.id)
            return
        self._metrics.images.labels(model).inc()
        held.stored.add(image.index)
        self._on_change()
        if len(held.stored) == job.request.n:
            await self._finish(job)

    async def _finish(self, job: Job) -> None:
        """End a job whose images are all stored; where they were lost, it is queued again."""
        model = job.request.model
        if await patiently(partial(self._leases.finish, job)):
            self._metrics.requests.labels(model, "ok").inc()
            self._metrics.e2e_seconds.labels(model).observe(time.time() - job.created_at)
            logger.info("job finished", extra={"job_id": job.id, "images": job.request.n})
        self._held.pop(job.id, None)
        self._on_change()

    async def _store_preview(self, held: Held, preview: TakenPreview) -> None:
        """Encode and store a preview; without Redis it is lost, and the next one will do."""
        job, index, calls_done = held.job, preview.index, preview.calls_done
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._encoders, preview.pixels)
        png = await loop.run_in_executor(
            self._encoders, encode_png, pixels, job.request, index, calls_done
        )
        with contextlib.suppress(QueueUnavailable):
            await self._leases.store_preview(job, index, calls_done, png)
        held.previewing.discard(index)
