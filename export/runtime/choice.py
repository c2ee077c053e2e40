"""Which engine serves a bundle on this machine, and why.

A named engine is used or refused. Without a name the best that can run is taken, in the order
below, and what was passed over is part of the answer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar, get_args

import torch

from export.runtime.accelerated import accelerated_backend, compiled_backend
from export.runtime.backend import Backend, EngineName
from export.runtime.eager import eager_backend
from export.runtime.onnx import onnx_backend
from export.runtime.planned import rtx_backend, tensorrt_backend
from export.runtime.refusal import EngineRefused
from export.runtime.site import Site

Maker = Callable[[Site, str], Backend]
Used = TypeVar("Used")

_SAID = 300  # characters of a library's message that are passed on

ENGINES: Mapping[str, Mapping[EngineName, Maker]] = {
    "cpu": {
        "onnx": onnx_backend,  # faster than PyTorch by python -m tests.benchmarks cpu-engines
        "pytorch": lambda site, why: eager_backend(site.bundle, site.device, why=why),
    },
    "cuda": {
        "tensorrt": tensorrt_backend,
        "tensorrt-rtx": rtx_backend,
        "pytorch-cuda": accelerated_backend,
        "pytorch-compile": compiled_backend,
        "pytorch": lambda site, why: eager_backend(site.bundle, site.device, why=why),
    },
}
"""By device, the best first; the last one runs every bundle."""


class DeviceAbsent(ValueError):
    """The device that was asked for is not on this machine."""


def check_engine(device: str, engine: str | None) -> None:
    """Refuse a device that is not there, and an engine that does not run on it, at no cost.

    Raises:
        DeviceAbsent: there is no such device here.
        EngineRefused: there is no such engine, or it is for another device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        msg = "device: got 'cuda', but PyTorch finds no CUDA device here; allowed: cpu"
        raise DeviceAbsent(msg)
    if engine is None or engine in ENGINES[device]:
        return
    if engine not in get_args(EngineName):
        raise EngineRefused(engine, "no such engine", f"allowed: {', '.join(get_args(EngineName))}")
    others = " or ".join(name for name, engines in ENGINES.items() if engine in engines)
    raise EngineRefused(
        engine,
        f"it does not run on device {device!r}",
        f"allowed there: {', '.join(ENGINES[device])}; or set DIMR_DEVICE={others}",
    )


def choose(site: Site, engine: str | None) -> Backend:
    """The backend of this name, or the best that can be made; errors as of `choose_used`."""
    return choose_used(site, engine, lambda backend: backend)


def choose_used(site: Site, engine: str | None, use: Callable[[Backend], Used]) -> Used:
    """What `use` makes of the backend of this name, or of the best of which it can make it.

    Raises:
        DeviceAbsent: see `check_engine`.
        EngineRefused: a named engine cannot run this bundle here, or none can; says what to run.
        BundleRefused: a latent model without its autoencoder, or an engine that was changed.
    """
    device = site.device.type
    check_engine(device, engine)
    makers = ENGINES[device]

    def used(name: EngineName, why: str) -> Used:
        with _refusing(name):
            return use(makers[name](site, why))

    *better, last = makers
    for name in makers:
        if name == engine:
            return used(name, "asked for by name")
    passed_over: list[str] = []  # no exceptions: they hold on to the device's memory
    for name in better:
        try:
            return used(name, _why(name, device, passed_over))
        except EngineRefused as refusal:
            passed_over.append(str(refusal))
    return used(last, _why(last, device, passed_over))


@contextmanager
def _refusing(engine: EngineName) -> Iterator[None]:
    """An engine that fails at start, of whatever library, is one that is refused."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        remedy = "set DIMR_SLOTS lower, serve fewer bundles, or name another engine in DIMR_ENGINE"
        raise EngineRefused(engine, _said(error), remedy) from error
    except RuntimeError as error:
        reason = f"it fails at start: {_said(error)}"
        raise EngineRefused(engine, reason, "name another engine in DIMR_ENGINE") from error


def _said(error: Exception) -> str:
    return f"{' '.join(str(error).split()):.{_SAID}}"


def _why(name: str, device: str, passed_over: Sequence[str]) -> str:
    best = f"{name} is the best for device {device!r}"
    if not passed_over:
        return best
    return f"{best} that can run here; {'; '.join(passed_over)}"
