"""Parts of /openapi.json that routes share."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from service.api.errors import PROBLEM_MEDIA_TYPE
from service.api.views import OpenAIErrorView, ProblemView

DESCRIPTION = """\
Images from multi-resolution diffusion models, drawn with step-level continuous batching.

`POST /v1/images/generations` follows the OpenAI Images contract and answers when the images are
done; `POST /v1/jobs` answers at once with a job to watch, cancel and fetch from. What a model can
draw, and within which bounds, is on its card: `GET /v1/models`.

Equal parameters and equal seeds give equal images, whatever else is being drawn. Every image says
in its metadata that a model made it, and how. Errors are RFC 9457 problem documents, except under
`/v1/images/`, where they have OpenAI's shape.
"""

Responses = dict[int | str, dict[str, Any]]

_MEANINGS: Mapping[int | str, str] = MappingProxyType(
    {
        400: "The body is not JSON.",
        404: "No such thing, or it has expired.",
        406: "None of the formats in Accept is offered.",
        409: "In conflict with what happened before.",
        413: "The body is too large.",
        415: "The body is not declared as JSON.",
        422: "Fields cannot be used; each is named with its value and what is allowed.",
        429: "The queue is full; Retry-After is computed from it.",
        500: "The service, or the job, failed.",
        503: "The queue or every worker is away; Retry-After says when to try again.",
        504: "Not done in time; the job has been cancelled.",
        "default": "Anything else that goes wrong.",
    }
)


def problems(*statuses: int) -> Responses:
    """Document answers that are RFC 9457 problem documents."""
    return _responses(statuses, PROBLEM_MEDIA_TYPE, ProblemView)


def openai_errors(*statuses: int) -> Responses:
    """Document answers in OpenAI's error shape."""
    return _responses(statuses, "application/json", OpenAIErrorView)


def _responses(statuses: Sequence[int], media_type: str, shape: type[BaseModel]) -> Responses:
    schema = _schema(shape)
    named: tuple[int | str, ...] = (*statuses, "default")
    return {status: _response(status, media_type, schema) for status in named}


def _schema(shape: type[BaseModel]) -> Mapping[str, Any]:
    """The JSON schema of a model with nested ones in place, free of references."""
    schema = shape.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(node: object) -> object:
        match node:
            case {"$ref": str(reference)}:
                return inlined(definitions[reference.removeprefix("#/$defs/")])
            case dict():
                return {key: inlined(value) for key, value in node.items()}
            case list():
                return [inlined(value) for value in node]
            case _:
                return node

    return {key: inlined(value) for key, value in schema.items()}


def _response(status: int | str, media_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {media_type: {"schema": schema}},
    }
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        text = "Seconds until another attempt makes sense."
        described["headers"] = {
            "Retry-After": {"description": text, "schema": {"type": "integer", "minimum": 1}}
        }
    return described
