"""The environment, read once by each `__main__`, as one frozen object.

Each `DIMR_*` variable is a field here; any other name with that prefix is refused, so that a
misspelt one cannot be silently without effect. An empty value counts as not set.
"""

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import SettingsInvalid

PREFIX = "DIMR_"
CLIENT_VARIABLES = frozenset({"DIMR_URL"})  # read by dimr-client, which needs no settings
SHIPPED_BUNDLES = Path(__file__).parents[1] / "deploy" / "models"

Engine = Literal["pytorch", "onnx", "tensorrt", "tensorrt-rtx", "pytorch-cuda", "pytorch-compile"]

_CREDENTIALS = re.compile(r"//[^/]*@")


def _shipped_bundles() -> tuple[Path, ...]:
    return tuple(manifest.parent for manifest in sorted(SHIPPED_BUNDLES.glob("*/manifest.json")))


class Settings(BaseSettings):
    """What an operator can choose; every default is safe on a laptop."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    redis_url: str | None = Field(
        None,
        description="Redis 6.2 or later, or Valkey. `dimr-serve` starts its own where this is not "
        "set; `dimr-api` and `dimr-worker` need it.",
        json_schema_extra={"allowed": "a redis://, rediss:// or unix:// address"},
    )
    host: str = Field(
        "127.0.0.1",
        description="Address that HTTP is served on.",
        json_schema_extra={"allowed": "an address or name of this machine"},
    )
    port: int = Field(8000, ge=1, le=65535, description="Port that HTTP is served on.")
    data_dir: Path = Field(
        Path("data"),
        description="Where `dimr-serve` keeps the queue and the results, and a worker what engines "
        "compile when they start.",
        json_schema_extra={"allowed": "a folder, created if need be"},
    )
    bundles: Annotated[tuple[Path, ...], NoDecode] = Field(
        default_factory=_shipped_bundles,
        description="Models that a worker serves.",
        json_schema_extra={
            "allowed": f"bundle folders, separated by commas or {os.pathsep!r}",
            "default": "all below `deploy/models`",
        },
    )
    slots: int = Field(16, ge=1, le=256, description="Images in progress per model and worker.")
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1024,
        description="Threads of a network call on a CPU.",
        json_schema_extra={"default": "the number of cores"},
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="What a worker computes on.")
    engine: Engine | None = Field(
        None,
        description="What a worker computes with, used or refused; where it is not set, the best "
        "that can run each bundle, which log and card name with the reason.",
        json_schema_extra={"allowed": ", ".join(get_args(Engine))},
    )
    queue_limit: int = Field(
        256, ge=1, le=100_000, description="Queued jobs per model, beyond which a caller gets 429."
    )
    max_images: int = Field(10, ge=1, le=100, description="Images per request.")
    max_body_bytes: int = Field(
        1024**2, ge=1024, le=64 * 1024**2, description="Bytes of a request's body."
    )
    request_timeout_s: float = Field(
        300.0, gt=0, le=3600, description="Seconds that a synchronous request waits for its images."
    )
    result_ttl_s: float = Field(
        3600.0, ge=1, le=30 * 86400, description="Seconds that images are kept after their job."
    )
    idempotency_ttl_s: float = Field(
        86400.0,
        ge=1,
        le=30 * 86400,
        description="Seconds that an `Idempotency-Key` is kept after its job.",
    )
    lease_s: float = Field(
        10.0,
        ge=3,
        le=600,
        description="Seconds of a worker's silence after which others take over its jobs.",
    )
    max_attempts: int = Field(
        3, ge=1, le=100, description="Runs of a job before it is given up on."
    )
    drain_s: float = Field(
        30.0, ge=0, le=3600, description="Seconds that running jobs get at shutdown."
    )
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a worker's own `/metrics`; 0 for none."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log records written."
    )

    def given_redis_url(self) -> str:
        """The address of Redis, for a process that does not start its own.

        Raises:
            SettingsInvalid: it is not set.
        """
        if self.redis_url is None:
            msg = "DIMR_REDIS_URL: not set; allowed: a redis://, rediss:// or unix:// address"
            raise SettingsInvalid(msg)
        return self.redis_url

    @field_validator("redis_url")
    @classmethod
    def _has_a_known_scheme(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"(redis|rediss|unix)://", url):
            msg = "unknown scheme"
            raise ValueError(msg)
        return url

    @field_validator("bundles", mode="before")
    @classmethod
    def _split(cls, folders: object) -> object:
        if isinstance(folders, str):
            parts = re.split(f"[,{re.escape(os.pathsep)}]", folders)
            return tuple(part.strip() for part in parts if part.strip())
        return folders


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsInvalid: a variable is unknown or holds a value that cannot be used; the message
            names each such variable, its value and what is allowed.
    """
    known = {_variable(name) for name in Settings.model_fields} | CLIENT_VARIABLES
    faults = [
        _unknown(name, known)
        for name in os.environ
        if name.upper().startswith(PREFIX) and name.upper() not in known
    ]
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0])
            value = _CREDENTIALS.sub("//***@", repr(fault["input"]))
            allowed = _allowed(Settings.model_fields[name])
            faults.append(f"{_variable(name)}: got {value}; allowed: {allowed}")
        raise SettingsInvalid("; ".join(faults)) from error
    if faults:
        raise SettingsInvalid("; ".join(faults))
    return settings


def settings_table() -> str:
    """Return every variable with its default, range and meaning as a Markdown table."""
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        cells = (f"`{_variable(name)}`", _default(field), _allowed(field), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _variable(field_name: str) -> str:
    return PREFIX + field_name.upper()


def _unknown(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name.upper(), sorted(known), n=1)
    hint = f"; nearest: {near[0]}" if near else f"; allowed: {', '.join(sorted(known))}"
    return f"{name}: no such setting{hint}"


def _stated(field: FieldInfo, key: str) -> str | None:
    extra = field.json_schema_extra
    return str(extra[key]) if isinstance(extra, dict) and key in extra else None


def _default(field: FieldInfo) -> str:
    stated = _stated(field, "default")
    if stated is not None:
        return stated
    return "not set" if field.default is None else f"`{field.default}`"


def _allowed(field: FieldInfo) -> str:
    stated = _stated(field, "allowed")
    if stated is not None:
        return stated
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    kind = "a whole number" if field.annotation is int else "a number"
    low = [f"from {bound.ge}" for bound in field.metadata if isinstance(bound, Ge)]
    above = [f"above {bound.gt}" for bound in field.metadata if isinstance(bound, Gt)]
    high = [f"to {bound.le}" for bound in field.metadata if isinstance(bound, Le)]
    return " ".join([kind, *low, *above, *high])
