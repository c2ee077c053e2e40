"""The HTTP application, put together from its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from service.api import errors
from service.api.backend import Backend
from service.api.documentation import DESCRIPTION
from service.api.middleware import BodyLimit, RequestLog
from service.api.routes import health, images, jobs, models, page
from service.metrics import Metrics
from service.queue.forecast import Forecast
from service.queue.previews import Previews
from service.queue.registry import Registry
from service.queue.store import JobQueue
from service.settings import Settings


def create_app(redis: Redis, metrics_registry: CollectorRegistry, settings: Settings) -> FastAPI:
    """Build the application; it listens to the queue as long as its lifespan is entered.

    Args:
        redis: from `service.queue.connection.connect`; stays the caller's to close.
        metrics_registry: gets the service's metrics, which `/metrics` renders.
        settings: bounds and times.
    """
    backend = Backend(
        queue=JobQueue(
            redis,
            queue_limit=settings.queue_limit,
            result_ttl_s=settings.result_ttl_s,
            idempotency_ttl_s=settings.idempotency_ttl_s,
        ),
        previews=Previews(redis),
        registry=Registry(redis),
        forecast=Forecast(redis),
        metrics=Metrics(metrics_registry),
        metrics_registry=metrics_registry,
        settings=settings,
    )

    @asynccontextmanager
    async def listening(_: FastAPI) -> AsyncIterator[None]:
        async with backend.queue:
            yield

    app = FastAPI(
        title="dimr-serve",
        version="1",
        description=DESCRIPTION,
        lifespan=listening,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.backend = backend
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestLog)  # added last: the outermost
    errors.install(app)
    for routes in (images, jobs, models, health, page):
        app.include_router(routes.router)
    return app
