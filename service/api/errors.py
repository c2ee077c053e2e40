"""What went wrong, in HTTP: the only table from errors to status codes, and the two ways to say it.

Every route answers with an RFC 9457 problem document, except the OpenAI route, which answers in
OpenAI's error shape. Both carry the same stable name of the problem.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from service import errors
from service.api.disconnects import ClientGone
from service.errors import FieldsRejected, QueueFull, RequestRejected, ServiceError

logger = logging.getLogger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"
OPENAI_PREFIX = "/v1/images/"
CLIENT_GONE_STATUS = 499  # nobody reads it; logs and tests do
MAX_SHOWN = 200  # characters of a bad value that are sent back


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one kind of error means to a client."""

    status: int
    name: str  # stable: clients switch on it
    title: str
    retry_after_s: float | None = None


MEANINGS: Mapping[type[ServiceError], Meaning] = MappingProxyType(
    {
        errors.RequestRejected: Meaning(422, "invalid-field", "A field cannot be used"),
        errors.FieldsRejected: Meaning(422, "invalid-field", "A field cannot be used"),
        errors.QueueFull: Meaning(429, "queue-full", "The queue is full"),
        errors.JobNotFound: Meaning(404, "job-not-found", "No such job"),
        errors.ImageNotReady: Meaning(404, "image-not-ready", "No such image"),
        errors.PreviewNotReady: Meaning(404, "preview-not-ready", "No such preview"),
        errors.JobCancelled: Meaning(409, "job-cancelled", "The job was cancelled"),
        errors.JobFailed: Meaning(500, "job-failed", "The job failed"),
        errors.WaitCutShort: Meaning(503, "server-stopping", "The server stops"),
        errors.WaitTimedOut: Meaning(504, "wait-timed-out", "The wait timed out"),
        errors.IdempotencyClash: Meaning(409, "idempotency-clash", "The key is taken"),
        errors.ModelUnknown: Meaning(404, "model-not-found", "No such model"),
        errors.ModelUnserved: Meaning(503, "model-unserved", "No worker serves the model", 5),
        errors.QueueUnavailable: Meaning(503, "queue-unavailable", "The queue is away", 2),
    }
)
_HTTP_MEANINGS: Mapping[int, Meaning] = MappingProxyType(
    {
        400: Meaning(400, "malformed-request", "The request cannot be read"),
        404: Meaning(404, "not-found", "No such path"),
        405: Meaning(405, "method-not-allowed", "The path has no such method"),
        406: Meaning(406, "not-acceptable", "No acceptable format"),
        413: Meaning(413, "body-too-large", "The body is too large"),
        415: Meaning(415, "unsupported-media-type", "The body is not declared as JSON"),
    }
)
_INTERNAL = Meaning(500, "internal-error", "The service failed")


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer, before it takes either shape."""

    status: int
    name: str
    title: str
    detail: str
    rejections: Sequence[RequestRejected] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def install(app: FastAPI) -> None:
    """Answer every error of an application through this module."""

    async def answer(request: Request, error: Exception) -> Response:
        return respond(error, request.url.path)

    async def answer_fault(request: Request, error: Exception) -> Response:
        response = respond(error, request.url.path)
        # The middleware that adds it to all other answers is inside of what failed.
        response.headers["X-Request-Id"] = request.state.request_id
        return response

    for kind in (ServiceError, HTTPException, RequestValidationError, ClientGone):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(Exception, answer_fault)


def respond(error: Exception, path: str) -> Response:
    """Answer an error in the shape that clients of this path understand."""
    if isinstance(error, ClientGone):
        return Response(status_code=CLIENT_GONE_STATUS)
    problem = _problem(error)
    if path.startswith(OPENAI_PREFIX):
        return openai_response(problem)
    return problem_response(problem)


def problem_response(problem: Problem) -> Response:
    """RFC 9457, with `errors` for bad fields."""
    content: dict[str, object] = {
        "type": f"urn:dimr:problem:{problem.name}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    if problem.rejections:
        content["errors"] = [
            {"field": r.field, "value": _shown(r.value), "allowed": r.allowed}
            for r in problem.rejections
        ]
    return JSONResponse(content, problem.status, problem.headers, PROBLEM_MEDIA_TYPE)


def openai_response(problem: Problem) -> Response:
    """OpenAI's error object; `param` names the first bad field."""
    first = problem.rejections[0].field if problem.rejections else None
    error = {
        "message": problem.detail,
        "type": _openai_type(problem.status),
        "param": first,
        "code": problem.name.replace("-", "_"),
    }
    return JSONResponse({"error": error}, problem.status, problem.headers)


def _openai_type(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


def _problem(error: Exception) -> Problem:
    match error:
        case ServiceError():
            return _service_problem(error)
        case HTTPException():
            meaning = _HTTP_MEANINGS[error.status_code]
            headers = error.headers or {}
            return Problem(
                meaning.status, meaning.name, meaning.title, error.detail, headers=headers
            )
        case RequestValidationError():
            rejections = [
                RequestRejected(str(e["loc"][-1]), e["input"], e["msg"]) for e in error.errors()
            ]
            return _service_problem(FieldsRejected(rejections))
        case _:
            return _internal_problem()


def _service_problem(error: ServiceError) -> Problem:
    meaning = MEANINGS.get(type(error))
    if meaning is None:
        logger.error("unexpected service error", exc_info=error)
        return _internal_problem()
    detail, rejections = str(error), _rejections(error)
    if rejections:
        detail = "; ".join(
            f"{r.field}: got {json.dumps(_shown(r.value))}; allowed: {r.allowed}"
            for r in rejections
        )
    elif isinstance(error, errors.QueueUnavailable):
        logger.warning("queue unavailable", extra={"reason": str(error)})
        detail = "the queue cannot be reached at the moment"  # not where it is
    wait_s = error.retry_after_s if isinstance(error, QueueFull) else meaning.retry_after_s
    return Problem(
        meaning.status,
        meaning.name,
        meaning.title,
        detail,
        rejections,
        headers={} if wait_s is None else {"Retry-After": str(max(1, math.ceil(wait_s)))},
    )


def _internal_problem() -> Problem:
    detail = "the service met an error of its own; its log has the X-Request-Id"
    return Problem(_INTERNAL.status, _INTERNAL.name, _INTERNAL.title, detail)


def _rejections(error: ServiceError) -> Sequence[RequestRejected]:
    match error:
        case FieldsRejected():
            return error.rejections
        case RequestRejected():
            return (error,)
        case errors.ModelUnknown():
            allowed = ", ".join(error.known) or "none are served"
            return (RequestRejected("model", error.model, allowed),)
        case _:
            return ()


def _shown(value: object) -> object:
    """A bad value as JSON can carry it, cut to a length that is fit to send back."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**64:
        return value
    if isinstance(value, int):
        return "a whole number beyond 64 bits"
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
