"""What the tests of the API and of the client share: a model, a worker without a GPU, a server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from service.api.app import create_app
from service.cards import ClassEntry, Defaults, Limits, ModelCard
from service.images import encode_png
from service.queue.connection import connect
from service.queue.jobs import ImageRequest, Job
from service.queue.leases import Leases
from service.queue.registry import Registry
from service.queue.signals import Wakeups
from service.settings import Settings

CLASSES = (
    ClassEntry(index=0, name="tiger face", aliases=("tiger",)),
    ClassEntry(index=1, name="cat face"),
    ClassEntry(index=2, name="A button (blood type)"),
    ClassEntry(index=3, name="piñata"),
)


class Drawer:
    """Stands in for a worker: claims real jobs from the real queue and draws flat squares."""

    def __init__(self, redis: Redis, card: ModelCard) -> None:
        self._redis = redis
        self._model = card.id
        self.leases = Leases(redis, "drawer")
        self.claimed: asyncio.Queue[Job] = asyncio.Queue()
        self.may_draw = asyncio.Event()
        self.may_draw.set()

    async def run(self) -> None:
        async with Wakeups(self._redis) as wakeups:
            while True:
                job = await self.leases.claim([self._model])
                if job is None:
                    await wakeups.wait_for_work(1.0)
                    continue
                self.claimed.put_nowait(job)
                await self.may_draw.wait()
                await self.draw(job)

    async def draw(self, job: Job) -> bool:
        for k in range(job.request.n):
            png = self.png(job.request, k)
            if not await self.leases.store_image(job, k, png):
                return False
        await self.leases.progress(job, job.request.n * job.request.steps)
        return await self.leases.finish(job)

    @staticmethod
    def png(request: ImageRequest, index: int) -> bytes:
        shade = (request.seed + index) % 256
        pixels = np.full((request.size, request.size, 3), shade, np.uint8)
        return encode_png(pixels, request, index)


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        id="emoji-test",
        kind="dimr",
        conditioning=("class",),
        sizes=(32,),
        classes=CLASSES,
        samplers=("ddim", "dpmpp_2m"),
        limits=Limits(max_steps=100, max_guidance=10.0, max_images=8),
        defaults=Defaults(steps=20, guidance=1.5, sampler="dpmpp_2m", size=32),
        engine={"backend": "none", "precision": "fp32", "device": "cpu"},
        description="Emoji, small.",
        created=1_700_000_000,
    )


@pytest.fixture
def prompt_card() -> ModelCard:
    """Of a model that draws prompts; its id comes after that of `card`."""
    return ModelCard(
        id="text-test",
        kind="layered",
        conditioning=("prompt",),
        sizes=(16, 32, 64),
        samplers=("ddim", "dpmpp_2m"),
        limits=Limits(max_steps=100, max_guidance=10.0, max_images=8),
        defaults=Defaults(steps=25, guidance=4.0, sampler="dpmpp_2m", size=64),
        engine={"backend": "none", "precision": "fp32", "device": "cpu"},
        previews=True,
    )


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def served(redis: Redis, card: ModelCard) -> Registry:
    """The model is announced, by a worker that never claims."""
    registry = Registry(redis, ttl_s=600)
    await registry.announce("idle", [card], {card.id: 1000.0})
    return registry


@pytest.fixture
async def drawer(redis: Redis, card: ModelCard, served: Registry) -> AsyncIterator[Drawer]:
    """The model is announced and its jobs are drawn at once, or when `may_draw` is set."""
    worker = Drawer(redis, card)
    running = asyncio.create_task(worker.run())
    yield worker
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def both_served(redis: Redis, served: Registry, prompt_card: ModelCard) -> Registry:
    """The model of classes and the model of prompts are announced."""
    await served.announce("idle too", [prompt_card], {prompt_card.id: 1000.0})
    return served


@pytest.fixture
async def prompt_drawer(
    redis: Redis, prompt_card: ModelCard, both_served: Registry
) -> AsyncIterator[Drawer]:
    """Both are announced, and prompts are drawn as `drawer` draws classes."""
    worker = Drawer(redis, prompt_card)
    running = asyncio.create_task(worker.run())
    yield worker
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def make_app(redis: Redis) -> AsyncIterator[Callable[..., Awaitable[FastAPI]]]:
    """Builds running applications on the test's Redis, with settings as keywords."""
    async with AsyncExitStack() as stack:

        async def make(on: Redis = redis, **choices) -> FastAPI:
            app = create_app(on, CollectorRegistry(), Settings(**choices))
            await stack.enter_async_context(app.router.lifespan_context(app))
            return app

        yield make


@asynccontextmanager
async def _listening(app: FastAPI) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        )
        # Not serve(): it would take over this process's signals.
        serving = asyncio.create_task(server._serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
async def make_server(make_app) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Serves applications on loopback ports with the real HTTP server; gives their addresses."""
    async with AsyncExitStack() as stack:

        async def make(**choices) -> str:
            return await stack.enter_async_context(_listening(await make_app(**choices)))

        yield make


@pytest.fixture
async def server_url(make_server: Callable[..., Awaitable[str]]) -> str:
    return await make_server()
