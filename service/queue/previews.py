"""What the images of a running job look like by now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from service.errors import PreviewNotReady
from service.queue import keys
from service.queue.connection import answered
from service.queue.jobs import Job, JobStatus


@dataclass(frozen=True, slots=True)
class Preview:
    """An unfinished image as PNG, and the network calls made for it by then."""

    png: bytes
    calls_done: int


class Previews:
    """Reads what `Leases.store_preview` stores; raises `QueueUnavailable` where Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def present(self, job: Job) -> Mapping[int, int]:
        """Network calls done, by the index of each image of which there is a preview now."""
        if job.status is not JobStatus.RUNNING:
            return {}
        indices = range(job.request.n)
        found = await self._read(job, *(f"{index}:calls" for index in indices))
        return {k: int(calls) for k, calls in zip(indices, found, strict=True) if calls is not None}

    async def newest(self, job: Job, index: int) -> Preview:
        """Return the newest preview of one image.

        Raises:
            PreviewNotReady: there is none now, or there never will be.
        """
        png, calls_done = await self._read(job, str(index), f"{index}:calls")
        if png is not None and calls_done is not None:
            return Preview(png, int(calls_done))
        if not 0 <= index < job.request.n:
            why = f"its images are 0 to {job.request.n - 1}"
        elif job.status is JobStatus.RUNNING:
            why = "it is drawn already, not begun, or of a model without previews"
        else:
            why = f"the job is {job.status}"
        raise PreviewNotReady(job.id, index, why)

    async def _read(self, job: Job, *names: str) -> list[bytes | None]:
        async with answered():
            reply = await self._redis.hmget(keys.PREVIEWS + job.id, list(names))
        return cast("list[bytes | None]", reply)
