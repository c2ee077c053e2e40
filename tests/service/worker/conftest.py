"""An engine that computes nothing but keeps every promise, and can be told to fail."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.engine import Pixels
from service.metrics import Metrics
from service.queue.connection import connect
from service.queue.jobs import ImageRequest
from service.queue.leases import Leases
from service.queue.previews import Previews
from service.queue.registry import Registry
from service.queue.signals import Wakeups, cancellations
from service.queue.store import JobQueue
from service.worker.loop import Ports, Worker


class FakeEngine:
    """Images are filled with their seed; each call waits for `gate`, if it is closed."""

    conditioning = "class"
    sizes: Sequence[int] = (4,)
    row_costs: Mapping[int, float] = {}

    def __init__(self, capacity: int = 4, model: str = "fake") -> None:
        self.capacity = capacity
        self.model = model
        self.gate = threading.Event()
        self.gate.set()
        self.fail_at: int | None = None  # number of the call that raises
        self.pause_at: int | None = None  # number of the call that closes the gate behind it
        self.calls: list[list[int]] = []  # slots of each call
        self.called = threading.Semaphore(0)  # released after each call
        self._left: dict[int, int] = {}
        self._seeds: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    @property
    def card(self) -> Mapping[str, object]:
        return {
            "id": self.model,
            "kind": "dimr",
            "conditioning": [self.conditioning],
            "sizes": self.sizes,
            "row_costs": self.row_costs,
            "classes": [{"index": 0, "name": "thing"}],
            "previews": False,
            "samplers": ["ddim"],
            "limits": {},
            "defaults": {"steps": 3, "guidance": 1.0, "sampler": "ddim", "size": 4},
            "engine": {"backend": "fake", "precision": "none", "device": "none"},
        }

    @property
    def rows_per_s(self) -> float:
        return 1.0

    def plan(self, *, steps: int, sampler: str, guidance: float, size: int) -> Sequence[int]:
        if size not in self.sizes:
            msg = f"size: got {size}; allowed: {self.sizes}"
            raise ValueError(msg)
        if sampler != "ddim":
            msg = f"sampler: got {sampler!r}; allowed: ddim"
            raise ValueError(msg)
        return [1 if guidance == 1 else 2] * steps

    def notice(self, prompt: str) -> str | None:
        return None

    def admit(
        self,
        slot: int,
        *,
        condition: int | str,
        seed: int,
        steps: int,
        sampler: str,
        guidance: float,
        size: int,
    ) -> None:
        assert slot not in self._left, "the slot is taken"
        assert isinstance(condition, str if self.conditioning == "prompt" else int)
        self._left[slot], self._seeds[slot], self._sizes[slot] = steps, seed, size

    def step(self, slots: Sequence[int]) -> Sequence[int]:
        self.gate.wait(10)
        self.calls.append(list(slots))
        if self.fail_at == len(self.calls):
            msg = "device on fire"
            raise RuntimeError(msg)
        if self.pause_at == len(self.calls):
            self.gate.clear()
        for slot in slots:
            self._left[slot] -= 1
        self.called.release()
        return [slot for slot in slots if self._left[slot] == 0]

    def preview(self, slot: int) -> Pixels | None:
        pytest.fail("asked for a preview by a model without any")

    def decode(self, slot: int) -> Pixels:
        assert self._left[slot] == 0, "the slot is not finished"
        self.release(slot)
        side, shade = self._sizes[slot], self._seeds[slot] % 256
        return lambda: np.full((side, side, 3), shade, np.uint8)

    def release(self, slot: int) -> None:
        self._left.pop(slot, None)

    def close(self) -> None:
        assert not self._left, "closed with occupied slots"


class FakePromptEngine(FakeEngine):
    """Draws prompts at two sizes; previews are filled with the calls that are left.

    It knows the first word of a prompt only, and refuses to draw "chaos".
    """

    conditioning = "prompt"
    sizes = (2, 4)

    @property
    def card(self) -> Mapping[str, object]:
        changes = {"kind": "layered", "classes": [], "previews": True}
        return {**super().card, **changes}

    def notice(self, prompt: str) -> str | None:
        first, *others = prompt.split() or [""]
        return f"prompt: the model reads {first} only" if others else None

    def admit(self, slot: int, *, condition: int | str, **rest) -> None:
        if condition == "chaos":
            msg = "prompt: got chaos; allowed: order"
            raise ValueError(msg)
        super().admit(slot, condition=condition, **rest)

    def preview(self, slot: int) -> Pixels | None:
        left = self._left[slot]
        return lambda: np.full((2, 2, 3), left, np.uint8)


@pytest.fixture
def fake_engine():
    return FakeEngine


@pytest.fixture
def fake_prompt_engine():
    return FakePromptEngine


@pytest.fixture
def metrics():
    return Metrics(CollectorRegistry())


def request(**changes):
    values = {
        "model": "fake",
        "label": 0,
        "class_name": "thing",
        "n": 1,
        "seed": 7,
        "steps": 3,
        "sampler": "ddim",
        "guidance": 1.0,
        "size": 4,
    }
    return ImageRequest.model_validate(values | changes)


@pytest.fixture
def make_request():
    return request


@pytest.fixture
def make_prompt_request():
    """Requests of a prompt, `subject`, instead of a class."""

    def make(subject, **changes):
        return request(label=None, class_name=None, prompt=subject, **changes)

    return make


@pytest.fixture
async def redis(redis_url):
    connection = connect(redis_url)
    yield connection
    await connection.aclose()


@pytest.fixture
async def jobs(redis):
    async with JobQueue(redis) as queue:
        yield queue


@pytest.fixture
def previews(redis):
    return Previews(redis)


@pytest.fixture
def working(redis, metrics):
    """Run a worker beside the test: `async with working(engine) as (task, stop)`."""

    @asynccontextmanager
    async def run(*engines, worker_id="w1", drain_s=5.0, lease_s=5.0, redis=redis, leases=Leases):
        stop = asyncio.Event()
        async with Wakeups(redis) as wakeups:
            ports = Ports(
                leases=leases(redis, worker_id, lease_s=lease_s, max_attempts=2),
                registry=Registry(redis),
                wakeups=wakeups,
                cancellations=lambda: cancellations(redis),
            )
            by_model = {engine.model: engine for engine in engines}
            worker = Worker(worker_id, by_model, ports, metrics, drain_s=drain_s)
            task = asyncio.create_task(worker.run(stop))
            try:
                yield task, stop
            finally:
                stop.set()
                for engine in engines:
                    engine.gate.set()
                await asyncio.gather(task, return_exceptions=True)

    return run
