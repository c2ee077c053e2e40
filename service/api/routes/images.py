"""The OpenAI Images route: ask, wait, receive."""

import asyncio

from fastapi import APIRouter, Request

from service.api.backend import Backend, Services
from service.api.bodies import body_documentation, read_body
from service.api.disconnects import ServerStops, unless_gone
from service.api.documentation import openai_errors
from service.api.schemas import GenerationBody
from service.api.submission import cancel, submit
from service.api.views import Generation
from service.errors import JobCancelled, JobFailed, WaitCutShort, WaitTimedOut
from service.images import transcode
from service.queue.jobs import Job, JobStatus

router = APIRouter(tags=["images"])

_EXAMPLE = {"prompt": "a tiger face", "n": 2, "seed": 7, "output_format": "webp"}


@router.post(
    "/v1/images/generations",
    response_model=Generation,
    response_model_exclude_none=True,
    responses=openai_errors(400, 404, 409, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=body_documentation(GenerationBody, _EXAMPLE),
)
async def generate_images(request: Request, backend: Services) -> Generation:
    """Draw images and return them: the OpenAI Images contract.

    The public `openai` client works as it is; class_label, seed, steps, guidance and sampler go
    through its `extra_body`. Leaving before the answer cancels the job.
    """
    body = await read_body(request, GenerationBody)
    # The deadline ends the job even where this process dies and cannot cancel it.
    job = await submit(backend, body, deadline_s=backend.settings.request_timeout_s)
    job = await _finished(request, backend, job)
    if body.response_format == "url":
        return Generation.of_urls(job, request)
    return Generation.of_bytes(job, await _images(backend, job))


async def _finished(request: Request, backend: Backend, job: Job) -> Job:
    """Wait for a job to succeed; whatever ends the wait before the job ends the job."""
    timeout_s = backend.settings.request_timeout_s
    try:
        waiting = backend.queue.wait(job.id, timeout_s)
        job = await unless_gone(request, backend.stopping, waiting)
    except ServerStops as error:
        raise WaitCutShort(job.id) from error
    finally:
        if not job.status.terminal:
            await cancel(backend, job.id)
    match job.status:
        case JobStatus.SUCCEEDED:
            return job
        case JobStatus.FAILED:
            raise JobFailed(job.id, job.error or "no reason was recorded")
        case JobStatus.CANCELLED:
            raise JobCancelled(job.id)
        case JobStatus.EXPIRED | JobStatus.QUEUED | JobStatus.RUNNING:
            raise WaitTimedOut(job.id, timeout_s)


async def _images(backend: Backend, job: Job) -> list[bytes]:
    """All images of a finished job in the format that it asked for."""
    pngs = [await backend.queue.image(job.id, k) for k in range(job.request.n)]
    target, quality = job.request.format, job.request.quality
    return [await asyncio.to_thread(transcode, png, target, quality) for png in pngs]
