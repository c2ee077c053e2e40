"""What builds engines, by backend."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import torch

from export.compilers.attention import allow_decomposition
from export.compilers.fusion import DumpUnreadable, fusion_report
from export.compilers.graphs import GraphKeeper
from export.compilers.interface import Compiled, Compiler, norms_by_compiler
from export.compilers.library import Library, open_library
from export.compilers.options import Norms, Options, Progress
from export.compilers.rows import over_rows
from export.compilers.torch_tensorrt import TorchTensorRT, open_torch_tensorrt
from export.graph.parts import Part
from export.graph.precision import Islands
from model.specs.manifest import Backend

if TYPE_CHECKING:
    import onnx


class PlanCompiler:
    """TensorRT or TensorRT-RTX, on a graph."""

    suffix = ".plan"
    memory_per_weight = 5.0  # 4.1 GiB were measured for 1 GB
    files_per_weight = 2.1

    def __init__(self, backend: Backend, library: Library) -> None:
        self.backend = backend
        self._library = library

    @property
    def name(self) -> str:
        """The library and its version."""
        return self._library.name

    @property
    def made_with(self) -> Mapping[str, str]:
        """The GPU, where kernels are chosen by timing them on it."""
        gpu = self._library.tuned_on()
        return {} if gpu is None else {"gpu": gpu}

    def target(self, arch: str | None) -> str:
        """The architecture named, or the usual one; raises TargetRefused."""
        return self._library.target(arch)

    def norms(self, norms: Norms) -> str:
        """What makes norms, with its version; raises NormsRefused and CompilerAbsent."""
        return self._library.norms(norms)

    def prepared(self, part: Part) -> Part:
        """Over rows, which fuses norms."""
        return over_rows(part)

    def marked(self, model: "onnx.ModelProto", options: Options) -> "onnx.ModelProto":
        """With attentions that may be taken apart, and norms that name their plugin, if any."""
        allow_decomposition(model)
        match options.norms:
            case Norms.COMPILER:
                return model
            case Norms.PLUGIN:
                from export.kernels.plugin import with_namespace  # Triton, which may be absent

                return with_namespace(model)

    def compile(
        self,
        part: Part,
        graph: Path,
        model: "onnx.ModelProto",
        options: Options,
        progress: Progress,
    ) -> Compiled:
        """Build a plan, whether or not its layers can be read; raises GraphUnparsed, EngineUnbuilt.

        It also raises CompilerAbsent where plugins are wanted and cannot be had.
        """
        plan = self._library.build(part.name, graph, options, progress)
        try:
            fusion = fusion_report(model, plan.records, profiles=len(options.buckets))
        except DumpUnreadable as error:
            return Compiled(plan.content, unknown=str(error))
        return Compiled(plan.content, fusion)


class TorchCompiler:
    """Torch-TensorRT, on the module itself."""

    backend: Backend = "torch-tensorrt"
    suffix = ".plan"
    memory_per_weight = 8.0
    files_per_weight = 2.1

    def __init__(self, compiler: TorchTensorRT) -> None:
        self._compiler = compiler

    @property
    def name(self) -> str:
        """The library and its version."""
        return self._compiler.name

    @property
    def made_with(self) -> Mapping[str, str]:
        """PyTorch, which traces, and the GPU, on which kernels are timed."""
        return {"torch": torch.__version__, "gpu": torch.cuda.get_device_name()}

    def target(self, arch: str | None) -> str:
        """The architecture named, or the usual one; raises TargetRefused."""
        return open_library("tensorrt").target(arch)

    def norms(self, norms: Norms) -> str:
        """What makes norms; raises NormsRefused for plugins."""
        return norms_by_compiler(norms, self.backend)

    def prepared(self, part: Part) -> Part:
        """Over rows, which fuses norms."""
        return over_rows(part)

    def marked(self, model: "onnx.ModelProto", options: Options) -> "onnx.ModelProto":
        """As it is: the graph is for the key and its counts alone."""
        return model

    def compile(
        self,
        part: Part,
        graph: Path,
        model: "onnx.ModelProto",
        options: Options,
        progress: Progress,
    ) -> Compiled:
        """Build a plan; raises EngineUnbuilt."""
        return Compiled(self._compiler.build(part, options, progress, Islands()))


def open_compiler(backend: Backend) -> Compiler:
    """What builds for a backend.

    Raises:
        CompilerAbsent: it is not installed; says what to install.
    """
    match backend:
        case "onnx":
            return GraphKeeper()
        case "tensorrt" | "tensorrt-rtx":
            return PlanCompiler(backend, open_library(backend))
        case "torch-tensorrt":
            return TorchCompiler(open_torch_tensorrt())
        case _:
            assert_never(backend)


def settled(compiler: Compiler, options: Options) -> Options:
    """Options with the architecture that a compiler will build for.

    Raises:
        TargetRefused: it is none that is allowed here.
        NormsRefused: it cannot make norms in the way that is asked for.
    """
    compiler.norms(options.norms)
    return replace(options, arch=compiler.target(options.arch))
