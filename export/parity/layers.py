"""Error of every layer: blocks of a graph beside those of the float32 network, on like inputs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from export.graph.nodes import shared_copy
from export.graph.parts import Part
from export.graph.precision import WRAPPED, Precision
from export.parity.figures import relative_error, written
from export.parity.graphs import opened
from export.parity.reference import exactly
from export.runtime.trajectory import Tensors

Preparing = Callable[[Part], Part]
"""Gives the same part, written as a compiler takes it."""


@dataclass(frozen=True, slots=True)
class LayerError:
    """Relative error of what a layer gives, the largest of a few calls, and the largest value.

    Attributes:
        name: of the module within its network.
        error: see `export.parity.figures.relative_error`.
        largest: absolute value in float32; float16 ends at 65504.
    """

    name: str
    error: float
    largest: float

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        return {"layer": self.name, "error": written(self.error), "largest": written(self.largest)}


def layer_errors(
    part: Part, prepared: Preparing, precision: Precision, calls: Sequence[Tensors]
) -> tuple[LayerError, ...]:
    """Compare each layer, in the order in which they are computed, then what comes out.

    Layers are the entries of the network's lists of modules: blocks, and branches that hold them.
    What they give is held for one call at a time.

    Args:
        part: on the CPU.
        prepared: what its graph is made of.
        precision: of the graph.
        calls: inputs of the part, at least one.

    Raises:
        EngineRefused, GraphRefused, GraphsUnwritten, OnnxAbsent: see `export.parity.graphs.opened`.
    """
    tapped = tapped_part(part)
    errors, largest = ([0.0] * len(tapped.outputs) for _ in range(2))
    with opened(tapped_part(prepared(part)), precision) as graph:
        for call in calls:
            with exactly():
                exact = tapped.module(*call)
            for place, (found, wanted) in enumerate(zip(graph(*call), exact, strict=True)):
                errors[place] = max(errors[place], relative_error(found, wanted))
                largest[place] = max(largest[place], _largest(wanted))
    own = len(part.outputs)
    order = [*range(own, len(tapped.outputs)), *range(own)]
    return tuple(LayerError(tapped.outputs[k], errors[k], largest[k]) for k in order)


def tapped_part(part: Part) -> Part:
    """A part of which the outputs of all layers come out behind its own; it shares all tensors."""
    fired: list[str] = []
    module = _tapped(part.module, _layers(part.module), fired)
    with exactly():
        module(*part.inputs.values())
    names = tuple(dict.fromkeys(fired))
    shown = tuple(name.removeprefix(WRAPPED) for name in names)
    return Part(part.name, _tapped(part.module, names, []), part.inputs, (*part.outputs, *shown))


def _layers(network: nn.Module) -> list[str]:
    lists = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.ModuleList)]
    return [f"{name}.{index}" for name, layers in lists for index in range(len(layers))]


def _tapped(network: nn.Module, names: Sequence[str], fired: list[str]) -> nn.Module:
    """A copy that gives what these modules give too, in the order in which they are called.

    Args:
        network: stays as it is.
        names: of modules.
        fired: gets the name of each that gives a tensor.
    """
    tape: dict[str, Tensor] = {}  # functions are not copied with a network, so this stays one
    copied = shared_copy(network)

    def begin(_network: nn.Module, _args: Any) -> None:  # noqa: ANN401  # whatever it takes
        tape.clear()

    def end(_network: nn.Module, _args: Any, outputs: Tensors) -> Tensors:  # noqa: ANN401
        fired.extend(tape)
        return (*outputs, *tape.values())

    def keep(name: str) -> Any:  # noqa: ANN401  # a hook
        def kept(_layer: nn.Module, _args: Any, output: Any) -> None:  # noqa: ANN401
            first = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(first, Tensor) and first.is_floating_point():
                tape[name] = first + 0  # a value of its own, which no later layer may replace

        return kept

    copied.register_forward_pre_hook(begin)
    for name in names:
        copied.get_submodule(name).register_forward_hook(keep(name))
    copied.register_forward_hook(end)
    return copied


def _largest(value: Tensor) -> float:
    largest = torch.nan_to_num(value, nan=math.inf).abs().max().item()
    return float(largest)
