"""What every route works with, handed to it by FastAPI."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from service.metrics import Metrics
from service.queue.forecast import Forecast
from service.queue.previews import Previews
from service.queue.registry import Registry
from service.queue.store import JobQueue
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Backend:
    """The API's side of the queue, its counters and its settings."""

    queue: JobQueue
    previews: Previews
    registry: Registry
    forecast: Forecast
    metrics: Metrics
    metrics_registry: CollectorRegistry
    settings: Settings
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server has given the requests in progress all the time they get."""


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


Services = Annotated[Backend, Depends(_backend)]
