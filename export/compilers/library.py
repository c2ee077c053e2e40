"""TensorRT and TensorRT-RTX: ONNX in, plan out, and the one place that knows where they differ.

Both are the same kind of library with nearly the same Python API, and their plans are not
interchangeable. What this project met (tensorrt 11 beside tensorrt_rtx 1.7):

=================  ===================================  ========================================
topic              tensorrt                             tensorrt_rtx
=================  ===================================  ========================================
target             the GPU that is present, so a build  named compute capabilities, so a build
                   needs one                            needs none; 9.0 and 10.0 are not among
                                                        them, 7.5 fails on these networks
kernels            chosen by timing them here; plans    chosen by rule, compiled when an engine
                   of two builds may differ             is loaded; the same plan every time, but
                                                        for numbers that name shapes where a width
                                                        of the network is odd
typing             always strong from 11, by a flag     always strong; the flag is accepted
                   in 10
plugins            yes: `add_plugin*`, ahead-of-time    **never**: a creator that is registered
                   plugins written in Python, chosen    and met by the parser ends the process
                   over a local function by the         (SIGABRT), which nothing can catch
                   parser's ENABLE_PLUGIN_OVERRIDE
timing cache       real                                 none; asking for one wants a GPU
refit, stripped    yes                                  not on a machine without a GPU
plans
version and        supported                            the getters warn, the flag fails
hardware
compatibility
capture in a CUDA  always                               only of plans that were built with
graph by a caller                                       REQUIRE_USER_ALLOCATION
validity of plans  only by loading them                 `Runtime.get_engine_validity`
=================  ===================================  ========================================

In common: precision stands in the graph, as types and casts, so no FP16 flag is ever set, and TF32,
in which both may multiply float32 unless told otherwise, is taken away, since what stays float32
does so for its 24 bits. An attention that no kernel of the library computes (in float32, or with
heads narrower than 9 or as wide as 512, as met so far) fails the build unless its node says that
it may be taken apart (see `attention`). A build or a load that fails returns None instead of
raising, and the reason is in the log, so every None becomes an error with the log's own words.
Detailed profiling prints the layers of an engine while it is built, which is all that can be known
of it without a GPU (see `fusion`).

Profiles: number k is tuned to buckets[k] rows, and takes half as many or more. What a profile spans
decides how its norms are compiled: with one fixed number of rows, or with a range of many times its
least, the compiler splits norms in two. So the profile of one row takes two as well.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from export.compilers.errors import (
    MIB,
    CompilerAbsent,
    EngineUnbuilt,
    GraphUnparsed,
    NormsRefused,
    TargetRefused,
)
from export.compilers.listening import (
    SAID,
    fault,
    interruption,
    log_of,
    monitor_of,
    named_in,
)
from export.compilers.options import Norms, Options, Progress
from export.kernels.errors import PluginRefused, TargetUnfit, TensorRTAbsent

PlanBackend = Literal["tensorrt", "tensorrt-rtx"]

_OLDEST_SM = 80  # of the architectures that these networks build for


class _Differences(Protocol):
    """What is not the same in the two libraries; one class for each."""

    backend: PlanBackend
    package: str
    extra: str
    has_plugins: bool

    def tuned_on(self) -> str | None:
        """The GPU that kernels are chosen on; None where they are chosen by rule."""
        ...

    def targets(self, trt: Any) -> Sequence[str]:  # noqa: ANN401 - either module
        """Architectures that a plan can be built for here."""
        ...

    def set_target(self, trt: Any, config: Any, arch: str) -> None:  # noqa: ANN401 - library's own
        """Ask for a plan for an architecture that is among the targets."""
        ...

    def advice(self) -> str:
        """What to do where none of the targets is the one that is wanted."""
        ...


class _TensorRT:
    """Full TensorRT: builds for the GPU that is present."""

    backend: PlanBackend = "tensorrt"
    package = "tensorrt"
    extra = "trt"
    has_plugins = True

    def tuned_on(self) -> str | None:
        return torch.cuda.get_device_name()

    def targets(self, trt: Any) -> Sequence[str]:  # noqa: ANN401 - as the other one
        if not torch.cuda.is_available():
            return ()
        return ("sm{}{}".format(*torch.cuda.get_device_capability()),)

    def set_target(self, trt: Any, config: Any, arch: str) -> None:  # noqa: ANN401
        """Nothing: the GPU that is present is the target."""

    def advice(self) -> str:
        return (
            "tensorrt builds for the GPU that is present: run this on a machine with the wanted "
            "one, or use --backend tensorrt-rtx, which needs none"
        )


class _TensorRTRTX:
    """TensorRT-RTX: builds for named architectures, on any machine."""

    backend: PlanBackend = "tensorrt-rtx"
    package = "tensorrt_rtx"
    extra = "trt-rtx"
    has_plugins = False

    def tuned_on(self) -> str | None:
        return None

    def targets(self, trt: Any) -> Sequence[str]:  # noqa: ANN401
        named = (name for name in trt.ComputeCapability.__members__ if name.startswith("SM"))
        return [name.lower() for name in named if int(name.removeprefix("SM")) >= _OLDEST_SM]

    def set_target(self, trt: Any, config: Any, arch: str) -> None:  # noqa: ANN401
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(trt.ComputeCapability.__members__[arch.upper()], 0):
            raise TargetRefused(arch, "one that the library accepts")

    def advice(self) -> str:
        return (
            "a GPU that is not among them may still run a plan for an older one, such as sm80: the "
            "worker asks the library when it starts, and refuses a plan that is not valid there"
        )


_BY_BACKEND: dict[PlanBackend, _Differences] = {
    "tensorrt": _TensorRT(),
    "tensorrt-rtx": _TensorRTRTX(),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build gave.

    Attributes:
        content: the serialized engine.
        records: what the library logged about the engine's layers.
    """

    content: bytes
    records: tuple[str, ...]


class Library:
    """One of the two, imported."""

    def __init__(self, trt: Any, differences: _Differences) -> None:  # noqa: ANN401 - a module
        self._trt = trt
        self._differences = differences

    @property
    def name(self) -> str:
        """Package and version, such as "tensorrt_rtx 1.7.1.116"."""
        return f"{self._differences.package} {self._trt.__version__}"

    def tuned_on(self) -> str | None:
        """The GPU that kernels are chosen on by timing them; None where they are chosen by rule."""
        return self._differences.tuned_on()

    def target(self, arch: str | None) -> str:
        """The architecture to build for: the one named, or the first that there is.

        Raises:
            TargetRefused: it is none of those allowed here, which are named.
        """
        allowed = self._differences.targets(self._trt)
        if allowed and arch is None:
            return allowed[0]
        if arch is None or arch not in allowed:
            named = ", ".join(allowed) or "none on this machine"
            raise TargetRefused(arch, f"{named} ({self._differences.advice()})")
        return arch

    def build(
        self,
        part: str,
        graph: Path,
        options: Options,
        progress: Progress,
    ) -> Plan:
        """Build a plan.

        Args:
            part: what the graph is, for messages.
            graph: an ONNX file.
            options: `arch` is one of `target`. Where plugins are to be the norms, the graph's
                nodes name their namespace (`export.kernels.plugin.with_namespace`).
            progress: is told of parsing, and of each phase of the build.

        Raises:
            GraphUnparsed: the parser refuses a node.
            EngineUnbuilt: there is no plan; the log says why.
            NormsRefused, CompilerAbsent: see `norms`.
            KeyboardInterrupt: during the build, which then ends at its next step.
        """
        trt = self._trt
        log = log_of(trt)
        builder = trt.Builder(log)
        network = builder.create_network(_network_flags(trt))
        parser = trt.OnnxParser(network, log)
        if options.norms is Norms.PLUGIN:
            self._allow_plugins(parser)
        progress.began(part, "parsing")
        if not parser.parse_from_file(str(graph)):
            faults = [fault(parser.get_error(k)) for k in range(parser.num_errors)]
            raise GraphUnparsed(part, self.name, faults or log.errors or ["it without a word"])
        config = self._config(builder, network, options)
        with interruption() as interrupted:
            if hasattr(trt, "IProgressMonitor"):
                config.progress_monitor = monitor_of(trt, part, progress, interrupted)
            else:
                progress.began(part, "building")
            plan = builder.build_serialized_network(network, config)
        if plan is None:
            names = [network.get_layer(k).name for k in range(network.num_layers)]
            raise EngineUnbuilt(part, self.name, named_in(log.errors, names), log.errors)
        return Plan(bytes(memoryview(plan)), tuple(log.layers))

    def _config(self, builder: Any, network: Any, options: Options) -> Any:  # noqa: ANN401
        trt = self._trt
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.clear_flag(trt.BuilderFlag.TF32)
        captured = getattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
        if captured is not None:
            config.set_flag(captured)
        if options.workspace_mib is not None:
            limit = options.workspace_mib * MIB
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit)
        for span in options.spans:
            profile = builder.create_optimization_profile()
            for k in range(network.num_inputs):
                tensor = network.get_input(k)
                profile.set_shape(
                    tensor.name,
                    *(tuple(rows if side < 0 else side for side in tensor.shape) for rows in span),
                )
            config.add_optimization_profile(profile)
        assert options.arch is not None
        self._differences.set_target(trt, config, options.arch)
        return config

    def norms(self, norms: Norms) -> str:
        """What makes norms, with its version.

        Raises:
            NormsRefused: plugins, and the library has none.
            CompilerAbsent: plugins, and what their code is compiled with is not installed.
        """
        if norms is Norms.COMPILER:
            return norms.value
        if not self._differences.has_plugins:
            raise NormsRefused(norms, self._differences.backend)
        try:
            from export.kernels.plugin import fingerprint
        except ImportError as error:
            raise CompilerAbsent(
                self._differences.backend, str(error), "or --norms compiler"
            ) from error
        return f"{norms.value} {fingerprint()}"

    def _allow_plugins(self, parser: Any) -> None:  # noqa: ANN401
        """Have plugins take the place of the graph's local functions of the same name."""
        self.norms(Norms.PLUGIN)
        from export.kernels.plugin import register

        try:
            register(self._trt)
        except (PluginRefused, TargetUnfit, TensorRTAbsent) as error:
            backend = self._differences.backend
            raise CompilerAbsent(backend, str(error), "or --norms compiler") from error
        parser.set_flag(self._trt.OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE)


def open_library(backend: PlanBackend) -> Library:
    """Import the library of a backend.

    Raises:
        CompilerAbsent: it is not installed, or lacks a library of its own; says what to install.
    """
    differences = _BY_BACKEND[backend]
    try:
        trt = importlib.import_module(differences.package)
    except (ImportError, OSError, RuntimeError) as error:
        said = " ".join(str(error).split())
        remedy = f"run: pip install 'dimr-serve[{differences.extra}]'"
        raise CompilerAbsent(backend, f"{said:.{SAID}}", remedy) from error
    return Library(trt, differences)


def _network_flags(trt: Any) -> int:  # noqa: ANN401
    """Strong typing, where that is still a choice."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)
