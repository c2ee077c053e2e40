"""TensorRT's and TensorRT-RTX's objects as the runtime's `Plan` and `Context`.

With `loading`, the one place of this package that touches either library.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from export.compilers.errors import CompilerAbsent
from export.compilers.library import open_library
from export.runtime.backend import EngineName
from export.runtime.bindings import ROWS, Binding, Profile
from export.runtime.kept import Kept
from export.runtime.loading import CompiledAtStart, Loading, ReadyToRun
from export.runtime.plan import Plan, PlanFault
from export.runtime.refusal import EngineRefused

_DTYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT64": torch.int64,
    "BOOL": torch.bool,
}
_UNSUPPORTED = "UNSUPPORTED_CC"  # among what TensorRT-RTX says of a plan: of no use on this GPU
_SAID = 400  # characters of a library's message that are passed on


class PlanRefused(ValueError):
    """The library does not take a plan; the message is the library's."""


class PlanUnsupported(PlanRefused):
    """The library does not run on this GPU, whatever the plan."""


class Runtime:
    """A library that runs plans here."""

    def __init__(self, name: str, trt: Any, cache: Path | None) -> None:  # noqa: ANN401 - a module
        """Begin; `cache` is a folder for what is compiled at loading, None keeps nothing."""
        self._name = name
        self._log = _log(trt)
        self._runtime = trt.Runtime(self._log)
        self._loading = CompiledAtStart(trt) if hasattr(trt, "EngineValidity") else ReadyToRun(trt)
        self._kept = Kept(cache)
        self._plans: WeakValueDictionary[str, TensorRTPlan] = WeakValueDictionary()

    @property
    def library(self) -> str:
        """Name and version, as manifests have them."""
        return self._name

    @property
    def portable(self) -> bool:
        """Whether its plans may run on later architectures than their own."""
        return self._loading.portable

    def open(self, plan: bytes, key: str) -> Plan:
        """Deserialise a plan on the present device.

        Args:
            plan: serialised.
            key: what tells it from other plans; what is compiled of it is kept by this name.

        Raises:
            PlanRefused: the library does not take it.
        """
        self._log.errors.clear()
        diagnostics = self._loading.invalidity(self._runtime, plan)
        engine = None
        if diagnostics is None:
            engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise refusal_of(diagnostics, self._log.errors)
        opened = TensorRTPlan(engine, self._loading, self._kept.read(key))
        self._plans[key] = opened
        return opened

    def keep(self) -> None:
        """Write down what was compiled since the plans were opened, for the next start."""
        for key, plan in self._plans.items():
            self._kept.write(key, plan.compiled())


def refusal_of(diagnostics: Sequence[str] | None, said: Sequence[str]) -> PlanRefused:
    """The error for a plan that was not taken.

    Args:
        diagnostics: why it is not valid here, by the library's names; None if it is valid.
        said: what the library logged.
    """
    invalid = () if diagnostics is None else (f"it is not valid here ({', '.join(diagnostics)})",)
    unsupported = diagnostics is not None and _UNSUPPORTED in diagnostics
    refusal = PlanUnsupported if unsupported else PlanRefused
    return refusal("; ".join((*invalid, *said)) or "no reason")


class TensorRTPlan:
    """A deserialised plan."""

    def __init__(self, engine: Any, loading: "Loading", blob: bytes) -> None:  # noqa: ANN401
        """Read what the plan says of itself; `blob` is what was compiled of it before, if any."""
        self._engine = engine
        self._loading = loading
        self._cache = loading.cache(engine, blob)
        names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name).name for name in names}
        self._inputs = {n: self._binding(n) for n in names if modes[n] == "INPUT"}
        self._outputs = {n: self._binding(n) for n in names if modes[n] == "OUTPUT"}

    @property
    def inputs(self) -> Mapping[str, Binding]:
        """What it reads."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Binding]:
        """What it writes."""
        return self._outputs

    @property
    def profiles(self) -> Sequence[Profile]:
        """Row counts that it takes."""
        name, of = next(iter(self._inputs)), self._engine.get_tensor_profile_shape
        count = self._engine.num_optimization_profiles
        return [Profile(*(shape[0] for shape in of(name, index))) for index in range(count)]

    @property
    def scratch_bytes(self) -> int:
        """Working memory of a context by the profile that needs most."""
        of = self._engine.get_device_memory_size_for_profile_v2
        return max(int(of(index)) for index in range(self._engine.num_optimization_profiles))

    def context(self, profile: int, scratch: Tensor) -> "TensorRTContext":
        """A context by a profile, with this working memory."""
        context, capturable = self._loading.context(self._engine, self._cache, _stream())
        _require(context is not None, "an execution context")
        _require(context.set_optimization_profile_async(profile, _stream()), f"profile {profile}")
        context.set_device_memory(scratch.data_ptr(), scratch.nbytes)
        return TensorRTContext(context, self._inputs, capturable=capturable)

    def compiled(self) -> bytes:
        """What the library compiled of it; nothing where it does not compile."""
        return self._loading.content(self._cache)

    def _binding(self, name: str) -> Binding:
        shape = tuple(ROWS if side < 0 else side for side in self._engine.get_tensor_shape(name))
        return Binding(_DTYPES[self._engine.get_tensor_dtype(name).name], shape)


class TensorRTContext:
    """An execution context."""

    def __init__(self, context: Any, inputs: Mapping[str, Binding], *, capturable: bool) -> None:  # noqa: ANN401
        self._context = context
        self._inputs = inputs
        self._capturable = capturable

    @property
    def capturable(self) -> bool:
        """Whether the library lets it be captured."""
        return self._capturable

    def bind(self, name: str, tensor: Tensor) -> None:
        """Read this input, or write this output, there from now on."""
        if name in self._inputs:
            shape = tuple(tensor.shape)
            _require(self._context.set_input_shape(name, shape), f"{name} of shape {shape}")
        _require(self._context.set_tensor_address(name, tensor.data_ptr()), f"address of {name}")

    def enqueue(self) -> None:
        """Compute on the current stream."""
        _require(self._context.execute_async_v3(_stream()), "a call")


def open_runtime(engine: EngineName, cache: Path | None) -> Runtime:
    """The library that runs the plans of an engine.

    Raises:
        EngineRefused: it is not installed.
    """
    try:
        name = open_library("tensorrt" if engine == "tensorrt" else "tensorrt-rtx").name
    except CompilerAbsent as error:
        raise EngineRefused(engine, str(error), "or name another engine in DIMR_ENGINE") from error
    package, _ = name.split(" ", 1)
    return Runtime(name, importlib.import_module(package), cache)


def _log(trt: Any) -> Any:  # noqa: ANN401 - of a class that is the library's
    class Log(trt.ILogger):  # type: ignore[misc]  # the library's classes have no types
        """Keeps errors."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(f"{' '.join(message.split()):.{_SAID}}")

    return Log()


def _stream() -> int:
    return int(torch.cuda.current_stream().cuda_stream)


def _require(done: object, what: str) -> None:
    if not done:
        msg = f"the library refuses {what}"
        raise PlanFault(msg)
