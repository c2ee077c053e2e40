"""The parts of the server's answers that the client reads."""

from typing import TypedDict


class Parameters(TypedDict):
    """What exactly is drawn."""

    class_name: str | None
    prompt: str | None
    n: int
    output_format: str


class JobImage(TypedDict):
    """One finished image."""

    index: int
    seed: int
    url: str


class Job(TypedDict):
    """A job as it stands."""

    id: str
    status: str
    model: str
    position: int | None
    eta_s: float | None
    progress: float
    cost: int
    images: list[JobImage]
    warnings: list[str]
    error: str | None
    parameters: Parameters


class ClassEntry(TypedDict):
    """One class of a model."""

    index: int
    name: str
    aliases: list[str]


class Limits(TypedDict):
    """Inclusive bounds of a model's numbers."""

    min_steps: int
    max_steps: int
    min_guidance: float
    max_guidance: float
    max_images: int


class Defaults(TypedDict):
    """What a model uses where a request is silent."""

    steps: int
    guidance: float
    sampler: str
    size: int


class Model(TypedDict):
    """A model card."""

    id: str
    conditioning: list[str]
    sizes: list[int]
    classes: list[ClassEntry]
    samplers: list[str]
    limits: Limits
    defaults: Defaults
    description: str
