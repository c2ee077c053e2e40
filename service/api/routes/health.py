"""Probes and metrics, for machines."""

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from service.api.backend import Backend, Services
from service.api.documentation import problems
from service.api.errors import Problem, problem_response
from service.errors import QueueUnavailable
from service.metrics import render

router = APIRouter(tags=["health"])

RETRY_READY_S = 2


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Requests can be served."""

    status: Literal["ready"] = "ready"
    models: list[str]


@router.get("/health/live", response_model=Live)
async def live() -> Live:
    """Answer as long as the process can; restart it when this does not."""
    return Live()


@router.get("/health/ready", response_model=Ready, responses=problems(503))
async def ready(backend: Services) -> Ready | Response:
    """Say whether images can be drawn now; 503 lists the `reasons` why not."""
    models, reasons = await _readiness(backend)
    if not reasons:
        return Ready(models=models)
    problem = Problem(
        503,
        "not-ready",
        "The service is not ready",
        "; ".join(reasons),
        extra={"reasons": reasons},
        headers={"Retry-After": str(RETRY_READY_S)},
    )
    return problem_response(problem)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
)
async def metrics(backend: Services) -> Response:
    """Return metrics; gauges of the queue are read now, or stay as they were without Redis."""
    try:
        await _measure_queue(backend)
    except QueueUnavailable:
        backend.metrics.ready.set(0)
    return Response(render(backend.metrics_registry), media_type=CONTENT_TYPE_LATEST)


async def _readiness(backend: Backend) -> tuple[list[str], list[str]]:
    """Models that are served, and reasons why none can be."""
    try:
        models = sorted(await backend.registry.models())
    except QueueUnavailable:
        return [], ["Redis does not answer"]
    return models, [] if models else ["no live worker serves any model"]


async def _measure_queue(backend: Backend) -> None:
    gauges = backend.metrics
    gauges.ready.set(1 if await backend.registry.models() else 0)
    for model in await backend.registry.known_models():
        backlog = await backend.forecast.backlog(model)
        for priority, jobs in backlog.jobs.items():
            gauges.queue_depth.labels(model, priority).set(jobs)
        gauges.backlog_steps.labels(model).set(backlog.sample_steps)
        gauges.oldest_wait_seconds.labels(model).set(backlog.oldest_wait_s)
        gauges.inflight.labels(model).set(backlog.running)
