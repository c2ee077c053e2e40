"""ONNX Runtime's engine: the graph itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from export.compilers.errors import MIB, CompilerAbsent, TargetRefused
from export.compilers.interface import Compiled, norms_by_compiler
from export.compilers.options import Norms, Options, Progress
from export.graph.parts import Part
from export.graph.trace import LARGEST_BYTES, weights_bytes
from model.specs.manifest import Backend

if TYPE_CHECKING:
    import onnx


class GraphKeeper:
    """ONNX Runtime: the graph is the engine."""

    backend: Backend = "onnx"
    suffix = ".onnx"
    memory_per_weight = 3.0
    files_per_weight = 1.1

    def __init__(self) -> None:
        """Find what writes graphs; raises CompilerAbsent."""
        self._name = _onnx_name()

    @property
    def name(self) -> str:
        """The library and its version."""
        return self._name

    @property
    def made_with(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def target(self, arch: str | None) -> None:
        """None, and none may be named; raises TargetRefused."""
        if arch is not None:
            raise TargetRefused(arch, "none with the backend onnx, whose graphs run on any machine")

    def norms(self, norms: Norms) -> str:
        """What makes norms; raises NormsRefused for plugins."""
        return norms_by_compiler(norms, self.backend)

    def prepared(self, part: Part) -> Part:
        """As it is."""
        return part

    def marked(self, model: "onnx.ModelProto", options: Options) -> "onnx.ModelProto":
        """As it is."""
        return model

    def compile(
        self,
        part: Part,
        graph: Path,
        model: "onnx.ModelProto",
        options: Options,
        progress: Progress,
    ) -> Compiled:
        """Leave the graph as it is; raises GraphTooLarge."""
        if weights_bytes(model) > LARGEST_BYTES:
            raise GraphTooLarge(part.name, weights_bytes(model))
        return Compiled(None)


class GraphTooLarge(CompilerAbsent):
    """A graph does not fit into the one file that an engine is."""

    def __init__(self, part: str, size_bytes: int) -> None:
        super().__init__(
            "onnx",
            f"part {part!r} has {size_bytes / MIB:.0f} MiB of weights, one file holds "
            f"{LARGEST_BYTES / MIB:.0f}",
            "use --precision fp16, or the pytorch engine",
        )


def _onnx_name() -> str:
    try:
        import onnx
    except ImportError as error:
        raise CompilerAbsent(
            "onnx", "onnx is not installed", "run: pip install 'dimr-serve[export]'"
        ) from error
    return f"onnx {onnx.__version__}"
