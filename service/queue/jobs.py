"""Jobs and their codec: what is asked, where it stands, and how Redis holds it."""

import json
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.images import Format

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


class JobStatus(StrEnum):
    """Life of a job: queued -> running -> one terminal state, exactly once."""

    QUEUED = "queued"  # in a stream, waiting for a worker
    RUNNING = "running"  # a worker holds its lease
    SUCCEEDED = "succeeded"  # every image is stored
    FAILED = "failed"  # attempts used up, or the request broke the engine
    CANCELLED = "cancelled"  # the caller asked for it
    EXPIRED = "expired"  # its deadline passed before it was finished

    @property
    def terminal(self) -> bool:
        """True when no transition may follow."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class ImageRequest(BaseModel):
    """One validated request: every field has its final value, nothing is left to defaults.

    A class is drawn where `label` is given, else what `prompt` says; "" draws without condition.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    label: int | None = Field(default=None, description="class index")
    class_name: str | None = Field(default=None, description="given with `label`")
    prompt: str | None = None
    n: int = Field(ge=1, description="images; image k uses seed + k")
    seed: int = Field(ge=0)
    steps: int = Field(ge=1, description="network calls per image")
    sampler: str
    guidance: float
    size: int = Field(description="side in pixels")
    format: Format = "png"
    quality: int | None = Field(default=None, description="0..100, lossy formats only")

    @model_validator(mode="after")
    def _has_one_condition(self) -> Self:
        if (self.label is None) != (self.class_name is None):
            got = f"{self.class_name!r} with label {self.label}"
            msg = f"class_name: got {got}; allowed: both or none"
            raise ValueError(msg)
        if self.label is None and self.prompt is None:
            msg = "label, prompt: got neither; allowed: a class, or a prompt"
            raise ValueError(msg)
        return self

    @property
    def condition(self) -> int | str:
        """What is drawn: a class index, or a prompt."""
        if self.label is not None:
            return self.label
        assert self.prompt is not None
        return self.prompt

    @property
    def subject(self) -> str:
        """What is drawn, in words: the name of a class, or a prompt."""
        if self.class_name is not None:
            return self.class_name
        assert self.prompt is not None
        return self.prompt


class Job(BaseModel):
    """A request and where it stands; times are Unix seconds by the clock of Redis."""

    model_config = ConfigDict(frozen=True)

    id: str
    request: ImageRequest
    tenant: str = "anonymous"
    priority: Priority = "normal"
    cost: int = Field(description="sample-steps: network rows in all, of the largest size")
    status: JobStatus = JobStatus.QUEUED
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    deadline_at: float | None = None
    attempts: int = Field(default=0, description="runs that count towards the limit")
    claims: int = Field(default=0, description="times a worker took it: the fence of its lease")
    worker: str | None = None
    images_done: int = 0
    calls_done: int = Field(default=0, description="network calls over all images so far")
    error: str | None = None
    warnings: tuple[str, ...] = Field(default=(), description="of the engine, about the request")

    @classmethod
    def from_hash(cls, fields: Mapping[bytes, bytes]) -> Self:
        """Read a job from its Redis hash, whose other fields belong to the transitions."""
        named = {name.decode(): value for name, value in fields.items()}
        request = ImageRequest.model_validate_json(named.pop("request"))
        warnings = json.loads(named.pop("warnings", b"[]"))
        known = {name: named[name].decode() for name in cls.model_fields if name in named}
        return cls.model_validate({**known, "request": request, "warnings": warnings})


_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_job_id(now_s: float) -> str:
    """Return 26 URL-safe characters that sort by time and hold 80 random bits.

    Args:
        now_s: Unix seconds; identifiers of one millisecond are in no order.
    """
    number = int(now_s * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
