"""JSON bodies, read strictly; a refusal names each field, its value and what is allowed."""

import difflib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from service.errors import FieldsRejected, RequestRejected

M = TypeVar("M", bound=BaseModel)

_KINDS: Mapping[str, str] = MappingProxyType(
    {"integer": "an integer", "number": "a finite number", "string": "a string", "null": "null"}
)
_BOUNDS: Mapping[str, str] = MappingProxyType(
    {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "maxLength": "with a length up to",
    }
)


async def read_body(request: Request, shape: type[M]) -> M:
    """Parse the body of a request.

    Raises:
        HTTPException: 415 where the body is not declared as JSON, 400 where it is none.
        FieldsRejected: fields that are unknown, missing, or of another type or range; all of them.
    """
    declared = request.headers.get("content-type", "")
    if declared.partition(";")[0].strip().lower() != "application/json":
        detail = f"Content-Type: got {declared!r}; allowed: application/json"
        raise HTTPException(415, detail)
    try:
        return shape.model_validate_json(await request.body())
    except ValidationError as error:
        faults = error.errors(include_url=False)
        if faults[0]["type"] == "json_invalid":
            raise HTTPException(400, f"the body is not JSON: {faults[0]['msg']}") from None
        raise FieldsRejected(_rejections(faults, shape)) from None


def body_documentation(shape: type[BaseModel], example: Mapping[str, object]) -> dict[str, Any]:
    """OpenAPI's `requestBody`, for routes that read their body themselves."""
    content = {"application/json": {"schema": shape.model_json_schema(), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _rejections(faults: list[ErrorDetails], shape: type[BaseModel]) -> list[RequestRejected]:
    """One rejection a field: a field of several types fails once for each."""
    fields = shape.model_json_schema()["properties"]
    rejections: dict[str, RequestRejected] = {}
    for fault in faults:
        name = str(fault["loc"][0]) if fault["loc"] else "body"
        if name == "body":
            allowed = "a JSON object"
        elif name in fields:
            allowed = _allowed(fields[name])
        else:
            allowed = _nearest(name, list(fields))
        rejections.setdefault(name, RequestRejected(name, fault["input"], allowed))
    return list(rejections.values())


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"no such field; nearest: {near[0]}" if near else f"the fields {', '.join(known)}"


def _allowed(schema: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema accepts."""
    match schema:
        case {"x-allowed": allowed}:
            return str(allowed)
        case {"anyOf": options}:
            return " or ".join(map(_allowed, options))
        case {"enum": values}:
            return ", ".join(map(json.dumps, values))
        case _:
            bounds = [f" {words} {schema[k]}" for k, words in _BOUNDS.items() if k in schema]
            return _KINDS[schema["type"]] + "".join(bounds)
