"""A bundle's network in ONNX Runtime, on a CPU."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

from export.graph.parts import (
    DECODER,
    ROWS,
    TEXT_ENCODER,
    Part,
    denoiser_parts,
    parts_of,
)
from export.runtime.arguments import depth_of, flattened
from export.runtime.backend import Backend
from export.runtime.codec import PartCodec
from export.runtime.encoder import prompts_by
from export.runtime.listed import (
    Listed,
    build_command,
    check_build,
    listed,
    rebuild_command,
)
from export.runtime.plan import PlanFault
from export.runtime.refusal import EngineRefused
from export.runtime.site import Site
from export.runtime.soundness import unsound
from export.runtime.streams import OneThread
from export.runtime.trajectory import Tensors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ENGINE: Literal["onnx"] = "onnx"
REINSTALL = "run: pip install --upgrade 'dimr-serve[export]'"
_SAID = 300  # characters of the library's message that are passed on


class OnnxPart:
    """A compiled part: one tensor after another in, its outputs out, without a copy."""

    def __init__(self, session: "InferenceSession") -> None:
        self._session = session
        self._faults = _faults()
        self._inputs = [given.name for given in session.get_inputs()]

    def __call__(self, *given: Tensor) -> Tensors:
        """Its outputs for these inputs.

        Raises:
            PlanFault: ONNX Runtime refuses them.
        """
        arrays = (value.contiguous().numpy() for value in given)
        feed = dict(zip(self._inputs, arrays, strict=True))
        try:
            return tuple(torch.from_numpy(out) for out in self._session.run(None, feed))
        except self._faults as error:
            msg = f"{' '.join(str(error).split()):.{_SAID}}"
            raise PlanFault(msg) from error


class OnnxNetwork(nn.Module):
    """Called like the denoiser that its parts were made from."""

    def __init__(self, parts: Sequence[OnnxPart]) -> None:
        """Take the parts of the lowest scale, the two lowest, and so on."""
        super().__init__()
        self._parts = tuple(parts)

    def forward(self, x: Tensor | Sequence[Tensor], t: Tensor, *condition: Tensor) -> Tensors:
        """Predict at every scale that is given; see the denoisers."""
        return self._parts[depth_of(x) - 1](*flattened(x, t, condition))


def onnx_backend(site: Site, why: str) -> Backend:
    """The bundle's ONNX graphs, with as many threads as PyTorch may use.

    Raises:
        EngineRefused: the bundle has none, ONNX Runtime is not installed, or it refuses them, or
            they predict something else than PyTorch.
        BundleRefused: a latent model without its autoencoder.
    """
    import_runtime()
    parts = denoiser_parts(site.bundle.network)
    found, *_ = listed(site, ENGINE, (ENGINE,), [part.name for part in parts])
    graphs = _wide(found)
    check_build(graphs, site.bundle.manifest, ENGINE)
    threads = torch.get_num_threads()

    def opened(name: str, inputs: Iterable[str]) -> OnnxPart:
        path, remedy = graphs.path(name), rebuild_command(graphs)
        return OnnxPart(open_session(path, tuple(inputs), threads=threads, remedy=remedy))

    if graphs.entries.keys() & {DECODER, TEXT_ENCODER}:
        parts = parts_of(site.bundle)
    there = [part for part in parts if part.name in graphs.entries]
    called = {part.name: opened(part.name, part.inputs) for part in there}
    _require_sound(site, graphs, there, called)
    codec, prompts = site.bundle.codec, None
    if DECODER in called:
        codec = PartCodec(codec, called[DECODER])
    if TEXT_ENCODER in called:
        prompts = prompts_by(site.bundle, called[TEXT_ENCODER])
    return Backend(
        name=ENGINE,
        why=why,
        precision=graphs.precision,
        device=site.device,
        network=OnnxNetwork([called[name] for name in graphs.denoiser]),
        codec=codec,
        prompts=prompts,
        streams=OneThread(),
        facts={"library": f"onnxruntime {import_runtime().__version__}", "threads": threads},
    )


def _require_sound(
    site: Site, graphs: Listed, parts: Sequence[Part], called: Mapping[str, OnnxPart]
) -> None:
    """Refuse graphs that predict something else than PyTorch: one look at each, at start."""
    try:
        fault = unsound([called[part.name] for part in parts], parts, (ROWS,), site.device)
    except PlanFault as error:
        fault = str(error)
    except ValueError as error:  # outputs of another number or shape
        fault = str(error)
    if fault is not None:
        place = graphs.path(parts[0].name).parent
        reason = f"the graphs in {place} predict something else than PyTorch: {fault}"
        raise EngineRefused(ENGINE, reason, rebuild_command(graphs))


def _wide(graphs: Listed) -> Listed:
    """Those graphs, which are float32 if the bundle has any that are."""
    if graphs.precision != "float32":
        reason = f"the bundle has {graphs.precision} graphs alone, for which a CPU has no kernels"
        raise EngineRefused(ENGINE, reason, build_command(graphs.folder, ENGINE))
    return graphs


def import_runtime() -> ModuleType:
    """ONNX Runtime.

    Raises:
        EngineRefused: it is not installed.
    """
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        reason = f"onnxruntime cannot be imported: {' '.join(str(error).split()):.{_SAID}}"
        raise EngineRefused(ENGINE, reason, "run: pip install 'dimr-serve[export]'") from error
    return cast("ModuleType", onnxruntime)


def _faults() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its errors have nothing in common."""
    faults = import_runtime().capi.onnxruntime_pybind11_state
    return (
        faults.Fail,
        faults.InvalidArgument,
        faults.InvalidGraph,
        faults.InvalidProtobuf,
        faults.NoSuchFile,
        faults.NotImplemented,
        faults.RuntimeException,
    )


def open_session(
    path: Path, inputs: Sequence[str], *, threads: int, remedy: str = REINSTALL
) -> "InferenceSession":
    """Load a graph for the CPU.

    Args:
        path: an ONNX file whose hash has been checked.
        inputs: the names that the graph's inputs must have, in this order.
        threads: of each operation, at least 1.
        remedy: what to run where it is refused.

    Raises:
        EngineRefused: ONNX Runtime is not installed or refuses the file, or the graph takes other
            inputs.
    """
    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # what is wrong is raised
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _faults() as error:
        said = " ".join(str(error).split())
        reason = f"ONNX Runtime {onnxruntime.__version__} refuses {path}: {said:.{_SAID}}"
        raise EngineRefused(ENGINE, reason, remedy) from error
    found = [given.name for given in session.get_inputs()]
    if found != list(inputs):
        reason = f"{path} takes {', '.join(found)}; the network takes {', '.join(inputs)}"
        raise EngineRefused(ENGINE, reason, remedy)
    return session
