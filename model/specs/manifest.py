"""manifest.json and labels.json: what a bundle says of itself."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import StringConstraints, model_validator

from model.specs.agreement import check_agreement, image_sizes
from model.specs.base import ModelId, Spec
from model.specs.layered import LayeredSpec
from model.specs.networks import NetworkSpec
from model.specs.process import ProcessSpec, SamplingDefaults
from model.specs.text import TextEncoderIdentity

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
FileName = Annotated[str, StringConstraints(pattern=rf"^{_NAME}(/{_NAME})?$")]  # one folder at most


class FileEntry(Spec):
    """What a file of the bundle must be."""

    sha256: str
    size_bytes: int


class Label(Spec):
    """One class: its index is its place in labels.json."""

    name: str
    aliases: tuple[str, ...] = ()


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
