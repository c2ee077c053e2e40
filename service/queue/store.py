"""What the API does with jobs: submit, watch, cancel, and fetch what came of them."""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self, cast

from redis.asyncio import Redis

from service.errors import (
    IdempotencyClash,
    ImageNotReady,
    JobNotFound,
    QueueFull,
    QueueUnavailable,
)
from service.queue import keys
from service.queue.connection import answered
from service.queue.forecast import retry_after_s
from service.queue.jobs import ImageRequest, Job, JobStatus, Priority, new_job_id
from service.queue.registry import Registry
from service.queue.scripts import Scripts, as_bytes, as_hash, as_int, as_list
from service.queue.signals import end, listen

RECHECK_S = 5.0  # a waiter looks for itself this often: published messages can be lost


class JobQueue:
    """The API's side of the queue.

    Every change is one atomic transition on the server, so any number of these may work at once.
    As a context manager it listens, on one connection, for jobs that end; `wait` needs that.
    Entering and leaving need no Redis. Besides the errors documented, every method raises
    `QueueUnavailable` where Redis does not serve.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        queue_limit: int = 256,
        result_ttl_s: float = 3600.0,
        idempotency_ttl_s: float = 86400.0,
    ) -> None:
        """Bind to a server.

        Args:
            redis: from `service.queue.connection.connect`; stays the caller's to close.
            queue_limit: jobs that may be queued per model, running ones not counted.
            result_ttl_s: seconds that images are kept after the end of their job.
            idempotency_ttl_s: seconds that an idempotency key is kept after it, with its job.
        """
        self._redis = redis
        self._scripts = Scripts(redis)
        self._registry = Registry(redis)
        self._queue_limit = queue_limit
        self._result_ttl_ms = round(result_ttl_s * 1000)
        self._idempotency_ttl_ms = round(idempotency_ttl_s * 1000)
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        await end(self._listener)
        self._listener = None

    async def enqueue(
        self,
        request: ImageRequest,
        *,
        cost: int,
        tenant: str = "anonymous",
        priority: Priority = "normal",
        deadline_s: float | None = None,
        idempotency_key: str | None = None,
        body: bytes | None = None,
    ) -> Job:
        """Submit a job, or return the one that this tenant submitted under the same key.

        Args:
            request: what to draw.
            cost: its sample-steps (network rows over all images), > 0.
            tenant: who asks; idempotency keys of different tenants never meet.
            priority: higher ones are claimed first, whatever their age.
            deadline_s: seconds from now after which the result is worthless; None for never.
            idempotency_key: chosen by the caller; while it is kept, the job exists once.
            body: what the caller sent, compared when a key comes again; None compares `request`.

        Raises:
            QueueFull: the model has `queue_limit` queued jobs.
            IdempotencyClash: the key came before with another body.
        """
        record, keep_job_ms = "", self._result_ttl_ms
        if idempotency_key is not None:
            record = keys.idempotency(tenant, idempotency_key)
            keep_job_ms = max(self._idempotency_ttl_ms, self._result_ttl_ms)
        asked = request.model_dump_json()
        outcome, *rest = as_list(
            await self._scripts.run(
                "enqueue",
                new_job_id(time.time()),
                request.model,
                priority,
                asked,
                request.n,
                tenant,
                cost,
                "" if deadline_s is None else deadline_s,
                self._queue_limit,
                keep_job_ms,
                self._result_ttl_ms,
                record,
                hashlib.sha256(asked.encode() if body is None else body).hexdigest(),
            )
        )
        if outcome == b"full":
            depth, steps = as_int(rest[0]), int(as_bytes(rest[1]))
            rate = (await self._registry.rates()).get(request.model, 0.0)
            raise QueueFull(
                request.model, depth, self._queue_limit, retry_after_s(depth, steps, rate)
            )
        if outcome == b"clash":
            assert idempotency_key is not None
            raise IdempotencyClash(idempotency_key, as_bytes(rest[0]).decode())
        return Job.from_hash(as_hash(rest[0]))

    async def get(self, job_id: str) -> Job:
        """Return a job as it stands.

        Raises:
            JobNotFound: no such job, or it has expired.
        """
        async with answered():
            fields = cast("dict[bytes, bytes]", await self._redis.hgetall(keys.JOB + job_id))
        if not fields:
            raise JobNotFound(job_id)
        return Job.from_hash(fields)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job wherever it is; one that has ended is returned as it ended.

        Raises:
            JobNotFound: no such job, or it has expired.
        """
        fields = await self._scripts.run("cancel", job_id)
        if fields is None:
            raise JobNotFound(job_id)
        return Job.from_hash(as_hash(fields))

    async def wait(self, job_id: str, timeout_s: float) -> Job:
        """Return a job as soon as it has ended, or as it last stood when the time is up.

        Redis has to serve when the wait begins; an outage after that is waited out.

        Raises:
            JobNotFound: no such job, or it has expired.
        """
        assert self._listener is not None, "wait() needs `async with queue`"
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        with self._watching(job_id) as ended:
            job = await self.get(job_id)
            while not job.status.terminal and (left_s := deadline - clock()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, RECHECK_S)):
                        await ended.wait()
                ended.clear()
                with suppress(QueueUnavailable):
                    job = await self.get(job_id)
        return job

    async def image(self, job_id: str, index: int) -> bytes:
        """Return the PNG bytes of one image, which may be ready before its job is.

        Raises:
            JobNotFound: no such job, or it has expired.
            ImageNotReady: not drawn yet, never to be drawn, or past its time to live.
        """
        async with answered():
            png = cast("bytes | None", await self._redis.hget(keys.IMAGES + job_id, str(index)))
        if png is not None:
            return png
        job = await self.get(job_id)
        if not 0 <= index < job.request.n:
            why = f"its images are 0 to {job.request.n - 1}"
        elif job.status is JobStatus.SUCCEEDED:
            why = "results are no longer kept"
        else:
            why = f"the job is {job.status}"
        raise ImageNotReady(job_id, index, why)

    async def events(
        self, job_id: str, after_id: str = "0-0"
    ) -> list[tuple[str, dict[str, object]]]:
        """Return what happened to a job after an event already seen, oldest first.

        Each event has a `type` (queued, started, step, preview, image, requeued, or a terminal
        status) and a Unix time `at`. Only the last `keys.EVENTS_KEPT` are held.

        Raises:
            JobNotFound: no such job, or it has expired.
        """
        async with answered():
            reply = await self._redis.xrange(keys.EVENTS + job_id, min=f"({after_id}")
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", reply)
        if not entries:
            await self.get(job_id)
        return [(entry_id.decode(), json.loads(fields[b"data"])) for entry_id, fields in entries]

    @contextmanager
    def _watching(self, job_id: str) -> Iterator[asyncio.Event]:
        ended = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(ended)
        try:
            yield ended
        finally:
            self._waiting[job_id].discard(ended)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def _listen(self) -> None:
        async for message in listen(self._redis, keys.ENDED):
            watched = self._waiting if message is None else (message,)
            for job_id in watched:
                for ended in self._waiting.get(job_id, ()):
                    ended.set()
