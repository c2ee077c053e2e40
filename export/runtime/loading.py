"""How TensorRT loads and calls plans, and how TensorRT-RTX does: all that differs at run time.

TensorRT-RTX says beforehand whether a plan is valid here, compiles kernels when a plan is loaded
and can keep them in a cache, and may forbid that a context be captured, but then captures by
itself; for what differs in building see `export.compilers.library`.
"""

from collections.abc import Sequence
from typing import Any, Protocol


class Loading(Protocol):
    """What running plans is like in one library and not in the other."""

    portable: bool

    def invalidity(self, runtime: Any, plan: bytes) -> Sequence[str] | None:  # noqa: ANN401
        """Why a plan is not valid here; None if it is, as far as can be told beforehand."""

    def cache(self, engine: Any, blob: bytes) -> Any:  # noqa: ANN401
        """Where compiled kernels go, filled with those of before; None where there is none."""

    def content(self, cache: Any) -> bytes:  # noqa: ANN401
        """What is in it."""

    def context(self, engine: Any, cache: Any, stream: int) -> tuple[Any, bool]:  # noqa: ANN401
        """A context without working memory, and whether it may be captured; None if refused."""


class ReadyToRun:
    """TensorRT: plans are ready to run, and every context may be captured."""

    portable = False

    def __init__(self, trt: Any) -> None:  # noqa: ANN401
        self._trt = trt

    def invalidity(self, runtime: Any, plan: bytes) -> Sequence[str] | None:  # noqa: ANN401
        """Nothing can be told before a plan is loaded."""
        return None

    def cache(self, engine: Any, blob: bytes) -> Any:  # noqa: ANN401
        """There is nothing to cache."""
        return None

    def content(self, cache: Any) -> bytes:  # noqa: ANN401
        """Nothing."""
        return b""

    def context(self, engine: Any, cache: Any, stream: int) -> tuple[Any, bool]:  # noqa: ANN401
        """Every context may be captured."""
        ours = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return engine.create_execution_context(ours), True


class CompiledAtStart:
    """TensorRT-RTX: plans are compiled when they are loaded.

    Kernels for a shape are compiled before its first call rather than meanwhile, as an image must
    not change while better kernels come in.
    """

    portable = True

    def __init__(self, trt: Any) -> None:  # noqa: ANN401
        self._trt = trt

    def invalidity(self, runtime: Any, plan: bytes) -> Sequence[str] | None:  # noqa: ANN401
        """The library's own look at it."""
        validity, diagnostics = runtime.get_engine_validity(plan)
        if validity != self._trt.EngineValidity.INVALID:
            return None
        kinds = self._trt.EngineInvalidityDiagnostics.__members__.items()
        return [n for n, kind in kinds if int(diagnostics) & int(kind)] or ["no diagnostics"]

    def cache(self, engine: Any, blob: bytes) -> Any:  # noqa: ANN401
        """A cache, which rejects what is of another GPU or driver."""
        cache = engine.create_runtime_config().create_runtime_cache()
        if blob:
            cache.deserialize(blob)
        return cache

    def content(self, cache: Any) -> bytes:  # noqa: ANN401
        """All that was compiled so far; nothing where the library fails to say."""
        serialised = cache.serialize()  # None where that fails
        return b"" if serialised is None else bytes(memoryview(serialised))

    def context(self, engine: Any, cache: Any, stream: int) -> tuple[Any, bool]:  # noqa: ANN401
        """One that may be captured, or else one that captures by itself."""
        strategies = self._trt.CudaGraphStrategy
        context = engine.create_execution_context(self._config(engine, cache, strategies.DISABLED))
        if context is None or context.is_stream_capturable(stream):
            return context, True
        own = self._config(engine, cache, strategies.WHOLE_GRAPH_CAPTURE)
        return engine.create_execution_context(own), False

    def _config(self, engine: Any, cache: Any, strategy: Any) -> Any:  # noqa: ANN401
        trt, config = self._trt, engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        config.cuda_graph_strategy = strategy
        config.set_runtime_cache(cache)
        return config
