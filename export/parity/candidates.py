"""What is verified: an engine of a bundle as a worker would run it, or the graph of its plans."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from export.compilers.options import Progress
from export.compilers.rows import over_rows
from export.graph.islands import present
from export.graph.parts import Part, denoiser_parts, parts_of
from export.graph.precision import Islands, Precision
from export.parity.cases import TOGETHER
from export.parity.graphs import graph_backend
from export.parity.layers import Preparing
from export.runtime.backend import Backend, EngineName
from export.runtime.choice import choose
from export.runtime.encoder import PartEncoder
from export.runtime.engine import SlotEngine
from export.runtime.listed import Listed, listed
from export.runtime.refusal import EngineRefused
from export.runtime.rows import Grouping, RowGroups, Shapes
from export.runtime.site import Site
from export.runtime.trajectory import Tensors
from model.bundle import Bundle
from model.diffusion.predictor import NoisePredictor
from model.specs.manifest import EngineEntry

GRAPH: Literal["graph"] = "graph"
CandidateName = Literal[
    "graph", "onnx", "tensorrt", "tensorrt-rtx", "pytorch-cuda", "pytorch-compile"
]
NAMES: tuple[CandidateName, ...] = get_args(CandidateName)

_BACKENDS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnx",),
    "tensorrt": ("tensorrt", "torch-tensorrt"),
    "tensorrt-rtx": ("tensorrt-rtx",),
}
_PRECISIONS = {"float32": Precision.FP32, "float16": Precision.FP16}


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An engine that is ready to draw.

    Attributes:
        name: as it was asked for.
        did: what was run, in words.
        backend: of the engine.
        engine: with `TOGETHER` slots.
        groups: how it calls its network.
        text: its text encoder, if it has one of its own.
        precision: of its graph; None where it has none.
        prepared: gives what its graph is made of.
        entries: of the manifest: those that were opened, or that a graph speaks for.
    """

    name: CandidateName
    did: str
    backend: Backend
    engine: SlotEngine
    groups: RowGroups
    text: Callable[[Tensor, Tensor], Tensors] | None
    precision: Precision | None
    prepared: Preparing
    entries: Sequence[EngineEntry]


def device_of(name: CandidateName, folder: Path) -> torch.device:
    """Where a candidate runs.

    Raises:
        EngineRefused: it needs a CUDA device and there is none; says what to run.
    """
    if name in (GRAPH, "onnx"):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        reason = "it runs on a CUDA device alone, and PyTorch finds none here"
        remedy = (
            f"run this command on a machine that has one, or verify the FP16 graph that plans are "
            f"made of on this CPU: dimr-export verify {folder} --engine {GRAPH}"
        )
        raise EngineRefused(name, reason, remedy)
    return torch.device("cuda")


@contextmanager
def candidate(
    name: CandidateName, folder: Path, bundle: Bundle, progress: Progress
) -> Iterator[Candidate]:
    """Open an engine; it is closed when the context ends.

    Args:
        name: which.
        folder: of the bundle.
        bundle: not the reference's: an engine may move it.
        progress: is told how far it is.

    Raises:
        BundleRefused: a latent model without its autoencoder, or an engine that was changed.
        EngineRefused: the engine cannot run here, or the bundle has none; says what to run.
        GraphRefused, GraphsUnwritten, OnnxAbsent: see `export.parity.graphs.opened`.
    """
    device = device_of(name, folder)
    if name == GRAPH:
        with graph_backend(bundle, Precision.FP16, progress) as (backend, text):
            library = backend.facts["library"]
            did = f"the FP16 graph, every tensor rounded, by {library} on the CPU; no plan was run"
            yield _ready(name, did, bundle, backend, text, spoken_for(bundle))
        return
    progress.began(name, "opening")
    engine: EngineName = name
    site = Site(folder, _unverified(bundle), device, TOGETHER)
    builds = told_apart(site, name)
    entries = tuple(entry for build in builds for entry in build.entries.values())
    backend = choose(dataclasses.replace(site, bundle=_listing(site.bundle, entries)), engine)
    library = backend.facts.get("library", f"torch {torch.__version__}")
    did = f"the engine itself, {library} on {device}"
    yield _ready(name, did, bundle, backend, reader_of(backend), opened_of(builds, backend))


def told_apart(site: Site, name: CandidateName) -> Sequence[Listed]:
    """Builds that a worker may choose from for an engine, no two of which look alike once they run.

    TensorRT runs plans of its own and those of Torch-TensorRT, which differ in nothing that it
    tells: of such a pair that comes which a worker takes.

    Raises:
        EngineRefused: there is none, of an engine that is built; says what to run.
    """
    if name not in _BACKENDS:
        return ()
    parts = [part.name for part in denoiser_parts(site.bundle.network)]
    taken: dict[tuple[str, str | None, str], Listed] = {}
    for build in listed(site, name, _BACKENDS[name], parts):
        taken.setdefault((build.precision, build.arch, _library(build)), build)
    return tuple(taken.values())


def opened_of(builds: Iterable[Listed], backend: Backend) -> Sequence[EngineEntry]:
    """Entries of the build that a backend runs, of builds that are told apart."""
    facts = backend.facts
    return [
        entry
        for build in builds
        if build.precision == backend.precision
        and build.arch == facts.get("arch")
        and (build.backend == "onnx" or _library(build) == facts.get("library"))
        for entry in build.entries.values()
    ]


def _library(build: Listed) -> str:
    """What runs it; what made it by that may follow in brackets."""
    return build.library.split(" (")[0]


def _unverified(bundle: Bundle) -> Bundle:
    """A bundle that says nothing of earlier findings: an engine that failed is to be opened too."""
    entries = [e.model_copy(update={"parity": None}) for e in bundle.manifest.engines]
    return _listing(bundle, entries)


def _listing(bundle: Bundle, entries: Iterable[EngineEntry]) -> Bundle:
    """A bundle whose manifest has these engines."""
    manifest = bundle.manifest.model_copy(update={"engines": tuple(entries)})
    return dataclasses.replace(bundle, manifest=manifest)


def spoken_for(bundle: Bundle) -> Sequence[EngineEntry]:
    """Engines of which the FP16 graph of a bundle says something.

    FP16 engines that were made of the same weights with the same islands, unless they were verified
    themselves.
    """
    manifest, parts = bundle.manifest, {part.name: part for part in parts_of(bundle)}
    return [
        entry
        for entry in manifest.engines
        if entry.part in parts
        and entry.precision == "fp16"
        and (entry.parity is None or entry.parity.get("engine") == GRAPH)
        and all(
            name in manifest.files and manifest.files[name].sha256 == sha256
            for name, sha256 in entry.sources.items()
        )
        and _has_usual_islands(entry, parts[entry.part])
    ]


def _has_usual_islands(entry: EngineEntry, part: Part) -> bool:
    """Whether what stays float32 in an engine is what does in the graph."""
    own = Islands(dict.fromkeys(entry.islands, ""))
    return set(present(part, own)) == set(present(part, Islands()))


def _ready(
    name: CandidateName,
    did: str,
    bundle: Bundle,
    backend: Backend,
    text: Callable[[Tensor, Tensor], Tensors] | None,
    entries: Sequence[EngineEntry],
) -> Candidate:
    made: list[RowGroups] = []
    grouping: Grouping = backend.grouping

    def kept(predictor: NoisePredictor, shapes: Shapes, condition: Tensors) -> RowGroups:
        made.append(grouping(predictor, shapes, condition))
        return made[-1]

    return Candidate(
        name,
        did,
        backend,
        SlotEngine(bundle, dataclasses.replace(backend, grouping=kept), capacity=TOGETHER),
        made[0],
        text,
        precision=None if name.startswith("pytorch") else _PRECISIONS.get(backend.precision),
        prepared=_as_it_is if name == "onnx" else over_rows,
        entries=entries,
    )


def reader_of(backend: Backend) -> Callable[[Tensor, Tensor], Tensors] | None:
    """The text encoder of an engine that has one of its own."""
    encoder = None if backend.prompts is None else backend.prompts.encoder
    return encoder.states if isinstance(encoder, PartEncoder) else None


def _as_it_is(part: Part) -> Part:
    return part
