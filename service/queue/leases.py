"""What a worker does with jobs: take them, report on them, end them, or give them back."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from redis.asyncio import Redis

from service.queue.jobs import Job
from service.queue.scripts import Argument, Reply, Scripts, as_bytes, as_hash, as_int, as_list

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one call of `Leases.reap` did: (job id, model) pairs."""

    requeued: tuple[tuple[str, str], ...]  # will run again
    dead: tuple[tuple[str, str], ...]  # failed: attempts used up
    expired: tuple[tuple[str, str], ...]  # deadline passed


class Leases:
    """A worker's side of the queue.

    A lease is a job as `claim` returned it: its id and its number of claims. Once the job has
    ended, or another claim has been made, every method refuses the old lease with False and
    changes nothing, so two workers that both believe they hold a job cannot both end it. A
    refused lease is the normal course of things, not an error.

    Repeating a call is harmless: an ending repeated under the lease that made it answers True
    again. Every method raises `QueueUnavailable` where Redis does not serve.
    """

    def __init__(
        self, redis: Redis, worker_id: str, *, lease_s: float = 10.0, max_attempts: int = 3
    ) -> None:
        """Bind to a server.

        Args:
            redis: from `service.queue.connection.connect`; stays the caller's to close.
            worker_id: shown as the job's worker.
            lease_s: seconds without `renew` after which anybody may take a job back. Equal on
                all workers, and several times the interval of their renewals.
            max_attempts: runs of a job before it is given up on.
        """
        self._scripts = Scripts(redis)
        self._worker_id = worker_id
        self._lease_ms = round(lease_s * 1000)
        self._max_attempts = max_attempts

    async def claim(self, models: Sequence[str]) -> Job | None:
        """Take the first job over all these models: highest priority, then longest in line.

        Returns None when nothing is queued for them. A claim whose reply is lost costs the job an
        attempt and a lease.
        """
        while True:
            reply = await self._scripts.run("claim", self._worker_id, *models)
            if reply is None:
                return None
            fields = as_hash(reply)
            try:
                return Job.from_hash(fields)
            except ValidationError as error:  # of another version; no attempt would help
                logger.warning("job unreadable", extra={"job_id": fields[b"id"].decode()})
                reason = f"this version cannot read the job: {error.errors()[0]['msg']}"
                await self._scripts.run("fail", fields[b"id"], fields[b"claims"], reason)

    async def renew(self, jobs: Sequence[Job]) -> list[str]:
        """Keep these leases for another `lease_s`; return the ids of those that are lost.

        A lost job was cancelled, has expired, or is somebody else's: stop working on it.
        """
        if not jobs:
            return []
        pairs: list[Argument] = [part for job in jobs for part in (job.id, job.claims)]
        return [
            as_bytes(item).decode() for item in as_list(await self._scripts.run("renew", *pairs))
        ]

    async def warn(self, job: Job, warnings: Sequence[str]) -> bool:
        """Tell the caller something about the request, in place of what was told before."""
        return await self._accepted("warn", job, json.dumps(warnings))

    async def progress(self, job: Job, calls_done: int) -> bool:
        """Report the network calls done so far, over all images of the job."""
        return await self._accepted("progress", job, calls_done)

    async def store_image(self, job: Job, index: int, png: bytes) -> bool:
        """Store an image; one that is there already stays, since it is the same."""
        return await self._accepted("store_image", job, index, png)

    async def store_preview(self, job: Job, index: int, calls_done: int, png: bytes) -> bool:
        """Show what an image looks like after so many of its network calls.

        It stands in for the one before, until the image is stored or the job is given back or
        ends; refused once the image is stored.
        """
        return await self._accepted("store_preview", job, index, calls_done, png)

    async def finish(self, job: Job) -> bool:
        """End a job whose images are all stored as succeeded.

        Where images are missing, because the server died with its last writes, the job is put
        back for another attempt and the answer is False.
        """
        outcome = as_int(await self._scripts.run("finish", job.id, job.claims))
        if outcome < 0:
            await self.retry(job, "stored images were lost by the server")
        return outcome == 1

    async def fail(self, job: Job, reason: str) -> bool:
        """End a job that no other attempt can help, with a dead letter."""
        return await self._accepted("fail", job, reason)

    async def retry(self, job: Job, reason: str) -> bool:
        """Put a job back in its place after a failed attempt; after the last, fail it for good."""
        return await self._accepted("retry", job, reason, self._max_attempts)

    async def requeue(self, job: Job) -> bool:
        """Put a job back in its place untried, because the worker stops."""
        return await self._accepted("requeue", job)

    async def reap(self) -> Reaped:
        """Take back what dead workers hold and expire what is past its deadline.

        For every worker to call each second, in any number at once.
        """
        reply = await self._scripts.run("reap", self._lease_ms, self._max_attempts)
        requeued, dead, expired = (_pairs(part) for part in as_list(reply))
        return Reaped(requeued, dead, expired)

    async def _accepted(self, transition: str, job: Job, *arguments: Argument) -> bool:
        return as_int(await self._scripts.run(transition, job.id, job.claims, *arguments)) == 1


def _pairs(reply: Reply) -> tuple[tuple[str, str], ...]:
    flat = [as_bytes(item).decode() for item in as_list(reply)]
    return tuple(zip(flat[::2], flat[1::2], strict=True))
