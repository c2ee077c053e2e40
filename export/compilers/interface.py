"""What a compiler is: one interface over libraries that take different things."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from export.compilers.errors import NormsRefused
from export.compilers.fusion import FusionReport
from export.compilers.options import Norms, Options, Progress
from export.graph.parts import Part
from model.specs.manifest import Backend

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came of a part.

    Attributes:
        content: the engine; None where it is the graph itself, which lies there already.
        fusion: what its layers are, where the compiler tells.
        unknown: why that is not known, where it should be.
    """

    content: bytes | None
    fusion: FusionReport | None = None
    unknown: str | None = None


class Compiler(Protocol):
    """Makes engines of parts.

    Attributes:
        backend: as manifests name it.
        suffix: of the files it makes.
        memory_per_weight: bytes of memory that a build takes for each byte of weights, about.
        files_per_weight: bytes of files that it writes for each, the graph among them.
    """

    backend: Backend
    suffix: str
    memory_per_weight: float
    files_per_weight: float

    @property
    def name(self) -> str:
        """The library and its version."""
        ...

    @property
    def made_with(self) -> Mapping[str, str]:
        """What else than its version and the options decides what comes out."""
        ...

    def target(self, arch: str | None) -> str | None:
        """The architecture to build for.

        Raises:
            TargetRefused: it is none that is allowed here.
        """
        ...

    def norms(self, norms: Norms) -> str:
        """What makes norms, with its version.

        Raises:
            NormsRefused: it cannot make them so.
        """
        ...

    def prepared(self, part: Part) -> Part:
        """The same part, as this compiler takes it best."""
        ...

    def marked(self, model: "onnx.ModelProto", options: Options) -> "onnx.ModelProto":
        """A part's graph with what this compiler has to know; the one given is used up."""
        ...

    def compile(
        self,
        part: Part,
        graph: Path,
        model: "onnx.ModelProto",
        options: Options,
        progress: Progress,
    ) -> Compiled:
        """Build the engine of a part whose marked graph lies in a file, and here as its model.

        Raises:
            CompilerRefused: it cannot.
        """
        ...


def norms_by_compiler(norms: Norms, backend: Backend) -> str:
    """What makes norms where there are no plugins; raises NormsRefused if they are wanted."""
    if norms is not Norms.COMPILER:
        raise NormsRefused(norms, backend)
    return norms.value
