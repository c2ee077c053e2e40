"""Where an error comes from: layers of the denoiser, and islands of every part that has any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from export.compilers.options import Progress
from export.graph.parts import DECODER, TEXT_ENCODER, Part, parts_of
from export.graph.precision import Precision
from export.parity.candidates import Candidate
from export.parity.islands import IslandError, island_errors
from export.parity.layers import LayerError, layer_errors
from export.parity.others import states_that_count
from export.parity.reference import Call
from export.runtime.trajectory import Tensors
from model.bundle import Bundle

CALLS = 3  # early, in the middle and late; or so many prompts


@dataclass(frozen=True, slots=True)
class Studied:
    """What graphs on the CPU show, by part."""

    layers: Mapping[str, Sequence[LayerError]] = field(default_factory=dict)
    islands: Mapping[str, Sequence[IslandError]] = field(default_factory=dict)


Study = Callable[[Candidate, Bundle, Sequence[Call], Sequence[Tensors], Progress], Studied]
"""Of an engine, beside a bundle on the CPU, by network calls and calls of the text encoder."""


def layers_and_islands(
    found: Candidate,
    bundle: Bundle,
    calls: Sequence[Call],
    prompts: Sequence[Tensors],
    progress: Progress,
) -> Studied:
    """Layers of each part of the denoiser; islands of the largest, and of the text encoder.

    A lower part of the denoiser is a portion of the largest. Nothing of an engine without a graph,
    no islands of one that is float32.

    Raises:
        EngineRefused, GraphRefused, GraphsUnwritten, OnnxAbsent: see `export.parity.graphs.opened`.
    """
    if found.precision is None:
        return Studied()
    parts = {part.name: part for part in parts_of(bundle)}
    encoder = parts.pop(TEXT_ENCODER, None)
    parts.pop(DECODER, None)
    layers = {}
    for depth, part in enumerate(parts.values(), start=1):
        progress.began(part.name, "layers")
        few = _few(calls, depth)
        layers[part.name] = layer_errors(part, found.prepared, found.precision, few)
    if found.precision is not Precision.FP16:
        return Studied(layers)
    largest: Part = list(parts.values())[-1]
    progress.began(largest.name, "islands")
    few = _few(calls, len(parts))
    islands = {largest.name: island_errors(largest, found.prepared, few)}
    if encoder is not None:
        progress.began(encoder.name, "islands")
        islands[encoder.name] = island_errors(
            encoder, found.prepared, prompts[:CALLS], states_that_count
        )
    return Studied(layers, islands)


def _few(calls: Sequence[Call], depth: int) -> list[Tensors]:
    """Inputs of `CALLS` guided calls of so many scales, spread over the times."""
    fitting = [call for call in calls if call.guided and len(call.xs) == depth]
    places = {round(k * (len(fitting) - 1) / (CALLS - 1)) for k in range(CALLS)}
    return [tuple(v.cpu() for v in fitting[place].inputs) for place in sorted(places)]
