"""How full the queue is, and how long that will take: what callers and autoscalers are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from service.queue import keys
from service.queue.connection import answered
from service.queue.jobs import PRIORITIES, Job, JobStatus, Priority
from service.queue.registry import Registry
from service.queue.scripts import Scripts, as_bytes, as_int, as_list

RETRY_WITHOUT_WORKERS_S = 30.0  # no rate is known: about as long as a worker needs to start
SHORTEST_RETRY_S = 1.0  # what Retry-After can express


@dataclass(frozen=True, slots=True)
class Backlog:
    """The state of one model's queue at one instant."""

    jobs: Mapping[Priority, int]  # queued
    running: int
    sample_steps: int  # of the queued jobs
    oldest_wait_s: float  # 0 when nothing is queued
    running_steps: float  # sample-steps that running jobs still need

    @property
    def queued(self) -> int:
        """Queued jobs over all priorities."""
        return sum(self.jobs.values())


class Forecast:
    """Reads backlogs and turns them into times by the rates that live workers announce."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._registry = Registry(redis)

    async def backlog(self, model: str) -> Backlog:
        """Return the backlog of a model, all zero for one that nobody asked for."""
        *depths, running, steps, wait, left = as_list(await self._scripts.run("backlog", model))
        return Backlog(
            jobs={p: as_int(depth) for p, depth in zip(PRIORITIES, depths, strict=True)},
            running=as_int(running),
            sample_steps=int(as_bytes(steps)),
            oldest_wait_s=float(as_bytes(wait)),
            running_steps=float(as_bytes(left)),
        )

    async def position(self, job: Job) -> int | None:
        """Return how many queued jobs of its model go first; None when it is not queued."""
        async with answered():
            rank = await self._redis.zrank(keys.QUEUED + job.request.model, job.id)
        return cast("int | None", rank)

    async def eta_s(self, job: Job) -> float | None:
        """Return the seconds until a job is likely to be done; 0 when it is.

        A running job is judged by its own pace so far, a queued one by the work ahead of it: what
        running jobs still need, and queued ones at their mean cost. None when neither says anything
        yet: no live worker announces a rate for the model.
        """
        if job.status.terminal:
            return 0.0
        if job.status is JobStatus.RUNNING and job.calls_done and job.started_at is not None:
            calls = job.request.n * job.request.steps
            return (await self._now() - job.started_at) * (calls / job.calls_done - 1)
        rate = (await self._registry.rates()).get(job.request.model, 0.0)
        if rate <= 0:
            return None
        ahead = await self.position(job) or 0
        backlog = await self.backlog(job.request.model)
        mean_cost = backlog.sample_steps / backlog.queued if backlog.queued else 0.0
        return (backlog.running_steps + ahead * mean_cost + job.cost) / rate

    async def _now(self) -> float:
        async with answered():
            seconds, microseconds = await self._redis.time()
        return float(seconds + microseconds / 1e6)


def retry_after_s(depth: int, sample_steps: int, rate: float) -> float:
    """Return when a full queue is likely to have a place again: after one mean job.

    Args:
        depth: queued jobs, > 0.
        sample_steps: their cost.
        rate: sample-steps a second over all live workers; 0 when there are none.
    """
    if rate <= 0:
        return RETRY_WITHOUT_WORKERS_S
    return max(SHORTEST_RETRY_S, sample_steps / depth / rate)
