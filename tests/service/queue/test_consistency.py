"""Random lives of many jobs: after each, everything the server holds fits everything else."""

import random
from functools import partial

import pytest

from service.errors import QueueFull
from service.queue.jobs import PRIORITIES, Job
from service.queue.leases import Leases


class Chaos:
    """Three workers and a caller that do anything at any time, under leases of any age."""

    def __init__(self, seed, redis, queue, submit, age) -> None:
        self.chance = random.Random(seed)
        self.queue, self.submit, self.age = queue, submit, age
        self.workers = [Leases(redis, f"w{k}", lease_s=10.0, max_attempts=2) for k in range(3)]
        self.ids: list[str] = []
        self.leases: list[Job] = []  # all that ever were: most are void after a while

    async def enqueue(self) -> None:
        choice = self.chance.choice
        try:
            job = await self.submit(
                choice(("emoji", "cats")),
                priority=choice(PRIORITIES),
                cost=self.chance.randrange(1, 50),
                deadline_s=choice((None, None, 0.0, 60.0)),
                idempotency_key=choice((None, str(len(self.ids)))),
            )
        except QueueFull:
            await self.cancel()
        else:
            self.ids.append(job.id)

    async def claim(self) -> None:
        models = self.chance.choice((["emoji"], ["cats"], ["cats", "emoji"]))
        job = await self.chance.choice(self.workers).claim(models)
        if job is not None:
            self.leases.append(job)

    async def end(self) -> None:
        for worker, job in self.some_lease():
            if await worker.store_image(job, 0, b"a"):
                assert await worker.finish(job)
            else:
                assert await worker.renew([job]) == [job.id]

    async def give_back(self) -> None:
        for worker, job in self.some_lease():
            transitions = (
                partial(worker.requeue, job),
                partial(worker.retry, job, "again"),
                partial(worker.fail, job, "broken"),
            )
            await self.chance.choice(transitions)()

    async def neglect(self) -> None:
        for worker, job in self.some_lease():
            if await worker.renew([job]) == []:
                await self.age(job, 60.0)
            await worker.reap()

    async def cancel(self) -> None:
        if self.ids:
            await self.queue.cancel(self.chance.choice(self.ids))

    def some_lease(self) -> list[tuple[Leases, Job]]:
        """One at random, of late ones rather than early ones, for any worker to use."""
        recent = self.leases[-6:]
        return [(self.chance.choice(self.workers), self.chance.choice(recent))] if recent else []


@pytest.mark.parametrize("seed", range(4))
async def test_the_server_is_consistent_after_any_sequence_of_transitions(
    seed, redis, queue, submit, age, audit
) -> None:
    chaos = Chaos(seed, redis, queue, submit, age)
    weighted = (chaos.enqueue, chaos.claim) * 2
    rare = (chaos.end, chaos.give_back, chaos.neglect, chaos.cancel)
    for step in range(150):
        await chaos.chance.choice((*weighted, *rare))()
        if step % 15 == 14:
            await audit()

    assert [key async for key in redis.scan_iter() if not key.startswith(b"{dimr}:")] == []
    ends = {(await queue.get(job_id)).status for job_id in chaos.ids}
    assert len(ends) >= 5, "the sequence was too tame to show anything"
