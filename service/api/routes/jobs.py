"""Jobs: submit, watch, cancel, and fetch the images."""

import asyncio
import hashlib
import re
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from starlette.exceptions import HTTPException

from service.api.backend import Backend, Services
from service.api.bodies import body_documentation, read_body
from service.api.disconnects import ServerStops, unless_gone
from service.api.documentation import problems
from service.api.negotiation import matches_etag, preferred_format, preferred_wait_s
from service.api.schemas import JobBody
from service.api.submission import cancel, submit
from service.api.views import JobView
from service.errors import JobNotFound, RequestRejected
from service.images import MEDIA_TYPES, Format, transcode
from service.queue.jobs import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_INDEX = 999  # far above any model's bound on images per job
CALLS_DONE_HEADER = "X-Calls-Done"

_EXAMPLE = {"prompt": "a tiger face", "n": 4, "seed": 7, "priority": "high", "deadline_s": 60}
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

_IdempotencyKey = Annotated[
    str | None,
    Header(
        description="1 to 255 visible ASCII characters. The same key with the same body gives "
        "the same job, with another body 409."
    ),
]
_Prefer = Annotated[
    str, Header(description="`wait=N` waits up to N seconds for the job to end (RFC 7240).")
]


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    response_model=JobView,
    responses={
        200: {"model": JobView, "description": "The job has ended already."},
        **problems(400, 404, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra=body_documentation(JobBody, _EXAMPLE),
)
async def submit_job(
    request: Request,
    response: Response,
    backend: Services,
    idempotency_key: _IdempotencyKey = None,
    prefer: _Prefer = "",
) -> JobView:
    """Queue a job and return it at once: 202 while it is under way, 200 when it has ended."""
    body = await read_body(request, JobBody)
    if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        allowed = "1 to 255 visible ASCII characters"
        raise RequestRejected("Idempotency-Key", idempotency_key, allowed)
    job = await submit(
        backend,
        body,
        priority=body.priority or "normal",
        deadline_s=body.deadline_s,
        idempotency_key=idempotency_key,
        body=await request.body(),
    )
    wait_s = preferred_wait_s(prefer)
    if wait_s is not None:
        wait_s = min(wait_s, int(backend.settings.request_timeout_s))
        with suppress(ServerStops):  # answer with the job as it stands
            waiting = backend.queue.wait(job.id, wait_s)
            job = await unless_gone(request, backend.stopping, waiting)
        response.headers["Preference-Applied"] = f"wait={wait_s}"
    response.headers["Location"] = str(request.url_for("read_job", job_id=job.id))
    if job.status.terminal:
        response.status_code = HTTPStatus.OK
    return await _view(backend, request, job)


@router.get("/{job_id}", response_model=JobView, responses=problems(404, 503))
async def read_job(job_id: str, request: Request, backend: Services) -> JobView:
    """Say where a job stands: status, position, ETA, progress, and its images when it is done."""
    return await _view(backend, request, await backend.queue.get(_checked(job_id)))


@router.delete("/{job_id}", response_model=JobView, responses=problems(404, 503))
async def cancel_job(job_id: str, request: Request, backend: Services) -> JobView:
    """Cancel a job, queued or running; one that has ended comes back as it ended."""
    return await _view(backend, request, await cancel(backend, _checked(job_id)))


@router.get(
    "/{job_id}/images/{index}",
    response_class=Response,
    responses={
        200: {"content": {m: {} for m in MEDIA_TYPES.values()}, "description": "The image."},
        304: {"description": "The client has it already."},
        **problems(404, 406, 422, 503),
    },
)
async def read_image(
    job_id: str,
    index: Annotated[int, Path(ge=0, le=MAX_INDEX)],
    backend: Services,
    accept: Annotated[str, Header()] = "",
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """Return one image in the most welcome format; by default the one that the job asked for."""
    job = await backend.queue.get(_checked(job_id))
    chosen = _format(accept, job)
    png = await backend.queue.image(job.id, index)
    content = await asyncio.to_thread(transcode, png, chosen, job.request.quality)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "ETag": etag,
        "Vary": "Accept",
        "Cache-Control": f"private, max-age={int(backend.settings.result_ttl_s)}, immutable",
    }
    if matches_etag(if_none_match, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    headers["Content-Disposition"] = f'inline; filename="{job.id}-{index}.{chosen}"'
    return Response(content, media_type=MEDIA_TYPES[chosen], headers=headers)


@router.get(
    "/{job_id}/previews/{index}",
    response_class=Response,
    responses={
        200: {
            "content": {m: {} for m in MEDIA_TYPES.values()},
            "description": "What the image looks like by now.",
            "headers": {
                CALLS_DONE_HEADER: {
                    "description": "Network calls made for the image when it was taken.",
                    "schema": {"type": "integer", "minimum": 1},
                }
            },
        },
        **problems(404, 406, 422, 503),
    },
)
async def read_preview(
    job_id: str,
    index: Annotated[int, Path(ge=0, le=MAX_INDEX)],
    backend: Services,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Return the newest preview of an image that is being drawn, of models that give previews.

    It is small: the image by now, at the lowest of the model's sizes. A few times a second there
    is a newer one, as the job's `previews` say. None is kept once the image is drawn.
    """
    job = await backend.queue.get(_checked(job_id))
    chosen = _format(accept, job)
    preview = await backend.previews.newest(job, index)
    content = await asyncio.to_thread(transcode, preview.png, chosen, job.request.quality)
    headers = {
        CALLS_DONE_HEADER: str(preview.calls_done),
        "Vary": "Accept",
        "Cache-Control": "no-store",
        "Content-Disposition": f'inline; filename="{job.id}-{index}-preview.{chosen}"',
    }
    return Response(content, media_type=MEDIA_TYPES[chosen], headers=headers)


def _format(accept: str, job: Job) -> Format:
    """The most welcome format, of equally welcome ones the job's own; 406 where none is."""
    chosen = preferred_format(accept, job.request.format)
    if chosen is None:
        offered = ", ".join(MEDIA_TYPES.values())
        raise HTTPException(406, f"Accept: got {accept[:200]!r}; allowed: {offered}")
    return chosen


def _checked(job_id: str) -> str:
    """What cannot be an identifier never reaches Redis."""
    if not _JOB_ID.fullmatch(job_id):
        raise JobNotFound(job_id[:64])
    return job_id


async def _view(backend: Backend, request: Request, job: Job) -> JobView:
    position = await backend.forecast.position(job)
    eta_s = await backend.forecast.eta_s(job)
    previews = await backend.previews.present(job)
    return JobView.of(job, request, position=position, eta_s=eta_s, previews=previews)
