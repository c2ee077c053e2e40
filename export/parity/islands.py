"""What each island of float32 is for: the error of a graph without it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from export.graph.islands import present
from export.graph.parts import Part
from export.graph.precision import Islands, Precision
from export.parity.figures import relative_error, written
from export.parity.graphs import opened
from export.parity.layers import Preparing
from export.parity.reference import exactly
from export.runtime.trajectory import Tensors

Compared = Callable[[Tensors, Tensors], Tensor]


@dataclass(frozen=True, slots=True)
class IslandError:
    """Relative error of what comes out, the largest of a few calls.

    Attributes:
        without: the pattern of the island that was float16, None where all were float32.
        why: that it is one.
        error: see `export.parity.figures.relative_error`.
    """

    without: str | None
    why: str
    error: float

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        return {"without": self.without, "why": self.why, "error": written(self.error)}


def everything(_call: Tensors, outputs: Tensors) -> Tensor:
    """All values that come out of a call, one after another."""
    return torch.cat([output.flatten() for output in outputs])


def island_errors(
    part: Part, prepared: Preparing, calls: Sequence[Tensors], compared: Compared = everything
) -> tuple[IslandError, ...]:
    """The error in float16 with all islands, then without each; nothing of a part without any.

    Norms compute in float32 always and are not among them.

    Args:
        part: on the CPU.
        prepared: what its graph is made of.
        calls: inputs of the part, at least one.
        compared: the values that count, of a call and its outputs.

    Raises:
        EngineRefused, GraphRefused, GraphsUnwritten, OnnxAbsent: see `export.parity.graphs.opened`.
    """
    islands = Islands()
    patterns = present(part, islands)
    if not patterns:
        return ()
    with exactly():
        exact = [compared(call, part.module(*call)) for call in calls]

    def error_of(kept: Islands) -> float:
        with opened(prepared(part), Precision.FP16, kept) as graph:
            found = [compared(call, graph(*call)) for call in calls]
        return max(relative_error(f, e) for f, e in zip(found, exact, strict=True))

    studied = [IslandError(None, "", error_of(islands))]
    for pattern in patterns:
        others = {name: why for name, why in islands.why.items() if name != pattern}
        studied.append(IslandError(pattern, islands.why[pattern], error_of(Islands(others))))
    return tuple(studied)
