"""What clients get to see: the wire contract of answers."""

import base64
from collections.abc import Mapping
from typing import Literal, Self

from fastapi import Request
from pydantic import BaseModel, Field

from service.api.resolution import size_name
from service.cards import ModelCard
from service.images import Format
from service.queue.jobs import ImageRequest, Job, JobStatus, Priority


class Parameters(BaseModel):
    """What exactly is drawn, every default filled in."""

    model: str
    class_label: int | None = Field(description="Class index; null where the prompt is drawn.")
    class_name: str | None
    prompt: str | None = Field(description="As it is drawn, or as it came with a class.")
    n: int
    seed: int = Field(description="Of the first image; image k is drawn from seed + k.")
    steps: int
    sampler: str
    guidance: float
    size: str
    output_format: Format
    output_compression: int | None

    @classmethod
    def of(cls, request: ImageRequest) -> Self:
        """Say a request in the words of the wire."""
        return cls(
            model=request.model,
            class_label=request.label,
            class_name=request.class_name,
            prompt=request.prompt,
            n=request.n,
            seed=request.seed,
            steps=request.steps,
            sampler=request.sampler,
            guidance=request.guidance,
            size=size_name(request.size),
            output_format=request.format,
            output_compression=request.quality,
        )


class JobImage(BaseModel):
    """One finished image of a job."""

    index: int
    seed: int
    url: str = Field(description="PNG, WebP or JPEG, as the Accept header asks.")


class JobPreview(BaseModel):
    """What one image of a running job looks like by now."""

    index: int
    calls_done: int = Field(description="Network calls made for the image when it was taken.")
    url: str = Field(description="The newest one; PNG, WebP or JPEG, as the Accept header asks.")


class JobView(BaseModel):
    """A job as GET /v1/jobs/{id} shows it; times are Unix seconds."""

    id: str
    object: Literal["job"] = "job"
    status: JobStatus
    model: str
    priority: Priority
    position: int | None = Field(description="Jobs ahead of it; null when it is not queued.")
    eta_s: float | None = Field(description="Seconds until it is likely done; null: nobody knows.")
    progress: float = Field(ge=0, le=1, description="Share of the network calls made.")
    cost: int = Field(description="Sample-steps: network rows in all, of the largest size.")
    created_at: float
    started_at: float | None
    finished_at: float | None
    deadline_at: float | None
    attempts: int
    images: list[JobImage] = Field(description="Empty until the job has succeeded.")
    previews: list[JobPreview] = Field(
        description="Of images being drawn now, by models whose card says `previews`."
    )
    warnings: list[str] = Field(
        description="What to know about the request, such as that its prompt is cut off; known "
        "once the job runs."
    )
    error: str | None
    parameters: Parameters

    @classmethod
    def of(
        cls,
        job: Job,
        request: Request,
        *,
        position: int | None,
        eta_s: float | None,
        previews: Mapping[int, int],
    ) -> Self:
        """Show a job to whoever sent this HTTP request; `previews` from `Previews.present`."""
        succeeded = job.status is JobStatus.SUCCEEDED
        calls = job.request.n * job.request.steps
        return cls(
            id=job.id,
            status=job.status,
            model=job.request.model,
            priority=job.priority,
            position=position,
            eta_s=eta_s,
            progress=1.0 if succeeded else min(1.0, job.calls_done / calls),
            cost=job.cost,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            deadline_at=job.deadline_at,
            attempts=job.attempts,
            images=[
                JobImage(index=k, seed=job.request.seed + k, url=image_url(request, job, k))
                for k in range(job.request.n if succeeded else 0)
            ],
            previews=[
                JobPreview(
                    index=k,
                    calls_done=calls_done,
                    url=str(request.url_for("read_preview", job_id=job.id, index=k)),
                )
                for k, calls_done in previews.items()
            ],
            warnings=list(job.warnings),
            error=job.error,
            parameters=Parameters.of(job.request),
        )


class GeneratedImage(BaseModel):
    """One image of OpenAI's answer; of b64_json and url, the one that was asked for."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str = Field(description="Name of the class, or the prompt, that was drawn.")
    seed: int


class Generation(BaseModel):
    """OpenAI's ImagesResponse with the job and its parameters."""

    created: int
    data: list[GeneratedImage]
    background: Literal["opaque"] = "opaque"
    output_format: Format
    size: str
    job_id: str
    warnings: list[str] = Field(
        description="What to know about the request, such as that its prompt is cut off."
    )
    parameters: Parameters

    @classmethod
    def of_bytes(cls, job: Job, images: list[bytes]) -> Self:
        """Show a finished job with its images inside."""
        encoded = [base64.b64encode(image).decode() for image in images]
        return cls._of(
            job,
            [
                GeneratedImage(
                    b64_json=text,
                    revised_prompt=job.request.subject,
                    seed=job.request.seed + k,
                )
                for k, text in enumerate(encoded)
            ],
        )

    @classmethod
    def of_urls(cls, job: Job, request: Request) -> Self:
        """Show a finished job with the addresses of its images."""
        return cls._of(
            job,
            [
                GeneratedImage(
                    url=image_url(request, job, k),
                    revised_prompt=job.request.subject,
                    seed=job.request.seed + k,
                )
                for k in range(job.request.n)
            ],
        )

    @classmethod
    def _of(cls, job: Job, data: list[GeneratedImage]) -> Self:
        return cls(
            created=int(job.created_at),
            data=data,
            output_format=job.request.format,
            size=size_name(job.request.size),
            job_id=job.id,
            warnings=list(job.warnings),
            parameters=Parameters.of(job.request),
        )


class ModelView(ModelCard):
    """A model card as OpenAI lists models."""

    object: Literal["model"] = "model"
    owned_by: str = "dimr-serve"

    @classmethod
    def of(cls, card: ModelCard) -> Self:
        """Show a card; it has been validated, so that its classes are taken as they are."""
        return cls.model_validate(dict(card))


class ModelList(BaseModel):
    """OpenAI's list shape."""

    object: Literal["list"] = "list"
    data: list[ModelView]


class FieldError(BaseModel):
    """One field of a request that cannot be used."""

    field: str
    value: object
    allowed: str


class ProblemView(BaseModel):
    """RFC 9457 problem document."""

    type: str = Field(description="Stable; switch on this.")
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = Field(None, description="Present for bad fields.")


class OpenAIErrorBody(BaseModel):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorView(BaseModel):
    """OpenAI's error shape."""

    error: OpenAIErrorBody


def image_url(request: Request, job: Job, index: int) -> str:
    """Absolute address of one image, on the host that the client used."""
    return str(request.url_for("read_image", job_id=job.id, index=index))
