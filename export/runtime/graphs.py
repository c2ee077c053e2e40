"""A network whose calls are bound to memory once and repeated from then on.

What repeats a call is a CUDA graph, or a plan's own execution; in either case the device reads and
writes the same addresses every time, so arguments are copied in and results copied out. Which
kernels run, and on which device, is the binder's business: everything here is the same on a CPU.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from export.runtime.arguments import depth_of, flattened
from export.runtime.trajectory import Tensors

Run = Callable[[], Tensors]
Bound = tuple[Tensors, Callable[[], object]]
"""Results, and what computes them anew from the arguments that they are bound to."""
Bind = Callable[[Tensors], Bound]
"""Arguments, whose memory stays, to what is bound to them."""

WARM_UPS = 3  # calls before a capture: libraries choose kernels and allocate during the first ones


class Repeated:
    """A part of which a call with so many rows is bound once, and repeated from then on."""

    def __init__(self, bind: Bind) -> None:
        self._bind = bind
        self._calls: dict[int, tuple[Tensors, Bound]] = {}

    def __call__(self, *given: Tensor) -> Tensors:
        """The results for these arguments; they are the caller's."""
        rows = len(given[0])
        if rows not in self._calls:
            kept = tuple(v.clone(memory_format=torch.contiguous_format) for v in given)
            self._calls[rows] = kept, self._bind(kept)
        kept, (results, repeat) = self._calls[rows]
        for place, value in zip(kept, given, strict=True):
            place.copy_(value)
        repeat()
        return tuple(result.clone() for result in results)


class GraphedNetwork(nn.Module):
    """Called like a denoiser whose parts are bound."""

    def __init__(self, binds: Sequence[Bind]) -> None:
        """Take what binds calls for the lowest scale, the two lowest, and so on."""
        super().__init__()
        self._parts = tuple(Repeated(bind) for bind in binds)

    @property
    def parts(self) -> Sequence[Repeated]:
        """What is called for the lowest scale, the two lowest, and so on."""
        return self._parts

    def forward(self, x: Tensor | Sequence[Tensor], t: Tensor, *condition: Tensor) -> Tensors:
        """Predict at every scale that is given; see the denoisers."""
        return self._parts[depth_of(x) - 1](*flattened(x, t, condition))


class Graphs(Protocol):
    """Makes calls repeatable; what it makes does not keep what `run` uses alive."""

    @property
    def captured(self) -> int:
        """How many it made."""

    def capture(self, run: Run) -> Bound:
        """Record what `run` does to the device; it must not wait for the device or ask it."""


class CudaGraphs:
    """Captures on one CUDA device; all graphs share their working memory, as they take turns.

    Memory is shared among captures of one stream alone, so all are made on the same.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._captured = 0

    @property
    def captured(self) -> int:
        """How many graphs there are."""
        return self._captured

    def capture(self, run: Run) -> Bound:
        """Record what `run` does to the device; it must not wait for the device or ask it."""
        present, aside = torch.cuda.current_stream(self._device), self._aside
        aside.wait_stream(present)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                run()
        present.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=aside):
            results = run()
        self._captured += 1
        return results, graph.replay


def binds_of(
    parts: Sequence[Callable[..., Tensors]], capture: Callable[[Run], Bound]
) -> tuple[Bind, ...]:
    """What binds calls of PyTorch modules.

    Args:
        parts: called with one tensor after another; for the lowest scale, the two lowest, and so
            on.
        capture: makes a call repeatable, e.g. `CudaGraphs.capture`.
    """

    def bind(part: Callable[..., Tensors]) -> Bind:
        return lambda kept: capture(lambda: part(*kept))

    return tuple(bind(part) for part in parts)
