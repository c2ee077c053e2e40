"""What clients may send: the wire contract of requests, strict in types and in names.

Bounds that depend on a model are in its card and are checked by `service.api.resolution`; null
always means the same as leaving a field out.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.images import Format
from service.queue.jobs import Priority

MAX_SEED = 2**63 - 1
MAX_NAME = 200  # characters of a model id or a class name
MAX_PROMPT = 4000
MAX_DEADLINE_S = 86400.0


class ImageFields(BaseModel):
    """What both ways of asking for images have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    model: str | None = Field(
        None,
        max_length=MAX_NAME,
        description="Model id of GET /v1/models. Default: the first, by id, that can draw what is "
        "asked for; where class_label is given models with classes come first, else models that "
        "draw from a prompt.",
    )
    prompt: str | None = Field(
        None,
        max_length=MAX_PROMPT,
        description="What to draw. A model whose `conditioning` has prompt takes any text; empty "
        "or left out, it draws an unconditional image. Of the others it is a class by name: "
        "`tiger face` or `a tiger face`, and may be empty where class_label is given.",
    )
    class_label: int | Annotated[str, Field(max_length=MAX_NAME)] | None = Field(
        None,
        description="The class to draw, by index, name or alias, as GET /v1/models lists them; "
        "only for models whose `conditioning` has class.",
    )
    n: int | None = Field(
        None, ge=1, description="Images, 1 by default; image k is drawn from seed + k."
    )
    size: str | None = Field(
        None,
        max_length=20,
        description="`auto` or a size of the model, such as `32x32`; a smaller one costs less.",
    )
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="Equal requests with equal seeds give equal images."
    )
    steps: int | None = Field(
        None, ge=1, description="Network calls per image; the card has bounds and default."
    )
    guidance: float | None = Field(
        None, description="Classifier-free guidance, 1 for none; the card has bounds and default."
    )
    sampler: str | None = Field(
        None, max_length=50, description="One of the card's samplers; the card has the default."
    )
    output_format: Format | None = Field(None, description="png by default.")
    output_compression: int | None = Field(
        None, ge=0, le=100, description="Quality of webp and jpeg; 95 by default."
    )


class JobBody(ImageFields):
    """Body of POST /v1/jobs."""

    priority: Priority | None = Field(
        None, description="Higher ones are served first; normal by default."
    )
    deadline_s: float | None = Field(
        None,
        gt=0,
        le=MAX_DEADLINE_S,
        description="Seconds from now after which the images are worthless; none by default.",
    )


class GenerationBody(ImageFields):
    """Body of POST /v1/images/generations: OpenAI's fields and this service's.

    Fields of OpenAI that choose among abilities of its models are accepted where leaving them
    out of account is harmless, and refused where the result would not be what was asked for.
    """

    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="b64_json by default; a url lives as long as the job's results."
    )
    stream: bool | None = Field(
        None,
        description="Streaming is not offered.",
        json_schema_extra={
            "x-allowed": "false; GET /v1/jobs/{id} of a job from POST /v1/jobs tells its progress"
        },
    )
    partial_images: int | None = Field(None, ge=0, le=0, description="Streaming is not offered.")
    background: Literal["auto", "opaque"] | None = Field(None, description="Always opaque.")
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] | None = (
        Field(None, description="Without effect; steps sets the quality.")
    )
    style: Literal["vivid", "natural"] | None = Field(None, description="Without effect.")
    moderation: Literal["auto", "low"] | None = Field(None, description="Without effect.")
    complexity: Literal["low", "medium", "high"] | None = Field(None, description="Without effect.")
    user: str | None = Field(None, max_length=MAX_NAME, description="Without effect.")
    safety_identifier: str | None = Field(None, max_length=MAX_NAME, description="Without effect.")
    frame_count: None = Field(None, description="Of GIF, which is not offered.")
    frame_duration_ms: None = Field(None, description="Of GIF, which is not offered.")
    svg: None = Field(None, description="Of SVG, which is not offered.")

    @field_validator("stream")
    @classmethod
    def _is_not_streamed(cls, stream: object) -> object:
        if stream:
            msg = "streaming is not offered"
            raise ValueError(msg)
        return stream
