"""From a body to a queued job, and from a job to a cancelled one; what happens is counted."""

from service.api.backend import Backend
from service.api.resolution import choose, resolve, sample_steps
from service.api.schemas import ImageFields
from service.cards import ModelCard
from service.errors import FieldsRejected, ModelUnknown, ModelUnserved, QueueFull
from service.queue.jobs import Job, JobStatus, Priority


async def submit(
    backend: Backend,
    fields: ImageFields,
    *,
    priority: Priority = "normal",
    deadline_s: float | None = None,
    idempotency_key: str | None = None,
    body: bytes | None = None,
) -> Job:
    """Queue what a client asks for.

    Args:
        backend: the queue.
        fields: what was asked for.
        priority: higher ones go first.
        deadline_s: seconds from now, None for never.
        idempotency_key: with the same key and body, the same job comes back.
        body: what the client sent, byte for byte; needed with a key.

    Raises:
        ModelUnknown: nobody ever served the model.
        ModelUnserved: nobody serves it now.
        FieldsRejected: the model cannot serve these fields.
        QueueFull: too many jobs wait already.
        IdempotencyClash: the key came with another body before.
    """
    card = await _card(backend, fields)
    outcomes = backend.metrics.requests
    try:
        request = resolve(fields, card, max_images=backend.settings.max_images)
        return await backend.queue.enqueue(
            request,
            cost=sample_steps(request, card),
            priority=priority,
            deadline_s=deadline_s,
            idempotency_key=idempotency_key,
            body=body,
        )
    except FieldsRejected:
        outcomes.labels(card.id, "invalid").inc()
        raise
    except QueueFull:
        outcomes.labels(card.id, "rejected_full").inc()
        raise


async def cancel(backend: Backend, job_id: str) -> Job:
    """Cancel a job; one that has ended is returned as it ended.

    Raises:
        JobNotFound: no such job.
    """
    before = await backend.queue.get(job_id)
    if before.status.terminal:
        return before
    after = await backend.queue.cancel(job_id)
    if after.status is JobStatus.CANCELLED:
        backend.metrics.requests.labels(after.request.model, "cancelled").inc()
    return after


async def _card(backend: Backend, fields: ImageFields) -> ModelCard:
    """The card of the model named, or of one that can serve where none is."""
    model = fields.model
    served = await backend.registry.models()
    if model is None:
        if not served:
            raise ModelUnserved(None)
        return choose(fields, list(served.values()))
    if model in served:
        return served[model]
    if model in await backend.registry.known_models():
        raise ModelUnserved(model)
    raise ModelUnknown(model, sorted(served))
