"""manifest.json and labels.json: what a bundle says of itself."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from model.specs.agreement import check_agreement, image_sizes
from model.specs.base import ModelId, Spec
from model.specs.layered import LayeredSpec
from model.specs.networks import NetworkSpec
from model.specs.process import ProcessSpec, SamplingDefaults
from model.specs.text import TextEncoderIdentity

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
# In one folder at most, or in one of those of the engines.
FileName = Annotated[
    str, StringConstraints(pattern=rf"^(engines/{_NAME}/{_NAME}|({_NAME}/)?{_NAME})$")
]
EngineFile = Annotated[str, StringConstraints(pattern=rf"^engines/{_NAME}/{_NAME}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MOST_PSNR_DB = 99.0  # of images that are the same: what stands for infinity
LEAST_PSNR_DB = 40.0
Backend = Literal["onnx", "tensorrt", "tensorrt-rtx", "torch-tensorrt"]
_COUNTS = ("plan_bytes", "td_norms", "attentions")
_FUSED = ("td_norms_single_kernel", "attentions_fused")  # null where a compiler does not tell


def _rising(buckets: tuple[int, ...]) -> tuple[int, ...]:
    if not buckets or list(buckets) != sorted(set(buckets)):
        msg = f"got {list(buckets)}; allowed: one or more whole numbers, rising"
        raise ValueError(msg)
    return buckets


class FileEntry(Spec):
    """What a file of the bundle must be."""

    sha256: str
    size_bytes: int


class Label(Spec):
    """One class: its index is its place in labels.json."""

    name: str
    aliases: tuple[str, ...] = ()


class EngineEntry(Spec):
    """One part of the bundle, compiled.

    Attributes:
        part: what was compiled: "denoiser", "denoiser-1" and so on by the number of lowest scales,
            "decoder" or "text_encoder".
        backend: what compiled it and runs it.
        precision: of the greater part of it.
        arch: the GPU architecture, such as "sm80"; None where there is none.
        library: name and version, such as "tensorrt_rtx 1.7.1.116". Another version cannot run it.
        key: sha256 of weights, graph, options, library and architecture.
        sources: sha256 of the bundle's files that it was made of, by their names; with others in
            their place it is out of date.
        batch_buckets: numbers of rows that it takes, rising; fewer are padded up to one of them.
        file: in the bundle.
        norms: what makes its time-dependent norms: "compiler", or a plugin with its version.
        report: what its build measured, at least its size and the counts of the fusion report;
            nothing until it is built, and a manifest lists none of these.
        parity: what `dimr-export verify` measured, if it did.
        islands: what stayed float32 under FP16.
    """

    part: Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")]
    backend: Backend
    precision: Literal["fp32", "fp16"]
    arch: str | None
    library: str
    key: Sha256
    sources: Annotated[Mapping[FileName, Sha256], Field(min_length=1)]
    batch_buckets: Annotated[tuple[PositiveInt, ...], AfterValidator(_rising)]
    file: EngineFile
    norms: str = "compiler"
    report: Mapping[str, Any] = {}
    parity: Mapping[str, Any] | None = None
    islands: tuple[str, ...] = ()

    @property
    def build(self) -> tuple[str, str, str | None, str]:
        """What at most one entry has: the part, backend, architecture and precision."""
        return self.part, self.backend, self.arch, self.precision

    @property
    def failed(self) -> bool:
        """Whether `dimr-export verify` found that it differs too much from PyTorch."""
        return self.parity is not None and self.parity.get("passed") is not True

    @field_validator("report")
    @classmethod
    def _has_counts(cls, report: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in (*_COUNTS, *_FUSED):
            found = report.get(name, "nothing")
            counted = type(found) is int and found >= 0
            if not counted and not (found is None and name in _FUSED):
                allowed = "a whole number from 0" + (" or null" if name in _FUSED else "")
                msg = f"{name}: got {found!r}; allowed: {allowed}"
                raise ValueError(msg)
        return report


class Parity(Spec):
    """How close engines have to come to PyTorch in float32.

    Attributes:
        image_psnr_db: least peak signal-to-noise ratio of finished images; 99 is no difference.
        call_error_fp32: largest relative error of a network call in float32.
        call_error_fp16: the same in float16.
        text_error: largest relative error of the states of a text encoder.
        why: the reason, where images may have less than 40 dB.
    """

    image_psnr_db: Annotated[PositiveFloat, Field(le=MOST_PSNR_DB)] = LEAST_PSNR_DB
    call_error_fp32: PositiveFloat = 1e-3
    call_error_fp16: PositiveFloat = 0.05
    text_error: PositiveFloat = 0.02
    why: str = ""

    @model_validator(mode="after")
    def _less_has_a_reason(self) -> Self:
        if self.image_psnr_db < LEAST_PSNR_DB and not self.why:
            msg = f"image_psnr_db: got {self.image_psnr_db:g} without a reason in why; allowed: "
            msg += f"{LEAST_PSNR_DB:g} or more, or less with one"
            raise ValueError(msg)
        return self


class Manifest(Spec):
    """manifest.json."""

    format_version: Literal[1] = 1
    id: ModelId
    kind: Literal["dimr", "uvit", "dit", "layered"]
    conditioning: tuple[Literal["class", "prompt"], ...]
    sizes: tuple[int, ...]
    description: str
    licence: str
    created: int
    network: NetworkSpec
    process: ProcessSpec
    sampling: SamplingDefaults
    text: TextEncoderIdentity | None = None
    provenance: Mapping[str, Any]
    evaluation: Mapping[str, Any] = {}
    files: Mapping[FileName, FileEntry] = {}
    engines: tuple[EngineEntry, ...] = ()
    parity: Parity = Parity()

    @model_validator(mode="after")
    def _engines_are_listed_once(self) -> Self:
        seen: set[tuple[str, str, str | None, str]] = set()
        files: set[str] = set()
        for index, entry in enumerate(self.engines):
            if entry.file not in self.files or entry.file in files:
                msg = f"engines.{index}.file: got {entry.file!r}; allowed: one that `files` lists, "
                msg += "and no other engine"
                raise ValueError(msg)
            if entry.build in seen:
                named = ", ".join(str(value) for value in entry.build)
                msg = f"engines.{index}: a second one for {named}; allowed: one"
                raise ValueError(msg)
            if not entry.report:
                msg = f"engines.{index}.report: got nothing; allowed: what its build measured"
                raise ValueError(msg)
            seen.add(entry.build)
            files.add(entry.file)
        return self

    @model_validator(mode="after")
    def _says_what_the_network_is(self) -> Self:
        check_agreement(self.network, self.process)
        layered = isinstance(self.network, LayeredSpec)
        for name, found, allowed in (
            ("kind", self.kind, self.network.kind),
            ("conditioning", self.conditioning, ("prompt",) if layered else ("class",)),
            ("sizes", self.sizes, image_sizes(self.network, self.process)),
        ):
            if found != allowed:
                msg = f"{name}: got {found!r}; allowed: {allowed!r}, as the network says"
                raise ValueError(msg)
        return self
