"""A network called with certain numbers of rows only, whatever number there is to compute.

On a CPU these are numbers whose results agree to the last bit: kernels may round differently for
different row counts, and an image must not depend on its neighbours, so which of them agree, with
the first rows and with the last of a full group, is probed at start. On a GPU they are buckets,
each recorded once and replayed from then on; there rows agree to the last bit within a bucket, and
across buckets as closely as its kernels do.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from export.runtime.trajectory import Tensors
from model.diffusion.predictor import NoisePredictor

GROUP = 8  # rows of one network call; beyond it a row costs a CPU the same (tests/benchmarks)
BUCKETS = (1, 2, 4, 6, 8, 12, 16, 24, 32)  # of a GPU; more rows than this save it almost nothing

Shapes = Sequence[tuple[int, int, int]]
"""(C, d, d) of the tensors that are denoised together, low to high."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the network is called for some of its scales.

    Attributes:
        row_counts: rows that a call may have, rising.
        row_seconds: what a row of the largest call takes.
    """

    row_counts: tuple[int, ...]
    row_seconds: float

    def call_for(self, rows: int) -> int:
        """Rows of the smallest call that has room for these, or the most that a call may have."""
        return next((n for n in self.row_counts if n >= rows), self.row_counts[-1])


class RowGroups:
    """Noise of any number of rows; within calls of equal size a row's bits are its own."""

    def __init__(self, predictor: NoisePredictor, paces: Sequence[Pace]) -> None:
        """Call `predictor` at these paces: for the lowest scale, the two lowest, and so on."""
        self._predictor = predictor
        self._paces = paces

    @property
    def paces(self) -> Sequence[Pace]:
        """Of calls for the lowest scale, the two lowest, and so on."""
        return self._paces

    def __call__(self, xs: Tensors, t: Tensor, condition: Tensors) -> Tensors:
        """Noise like `xs`, the lowest scales of any number of rows."""
        pace = self._paces[len(xs) - 1]
        most = pace.row_counts[-1]
        parts = []
        for start in range(0, len(t), most):
            rows = slice(start, start + most)
            group = len(t[rows])
            missing = pace.call_for(group) - group
            noises = self._predictor(
                tuple(_padded(x[rows], missing) for x in xs),
                _padded(t[rows], missing),
                *(_padded(c[rows], missing) for c in condition),
            )
            parts.append(tuple(noise[:group] for noise in noises))
        return tuple(torch.cat(scale) for scale in zip(*parts, strict=True))


Grouping = Callable[[NoisePredictor, Shapes, Tensors], RowGroups]
"""(network on its device, shapes, unlike rows of a condition to probe with) -> its groups."""


@torch.inference_mode()
def agreeing_groups(predictor: NoisePredictor, shapes: Shapes, condition: Tensors) -> RowGroups:
    """Probe which calls of up to `GROUP` rows agree to the last bit with those of `GROUP`."""
    paces = []
    for depth in range(1, len(shapes) + 1):
        call = _specimen(shapes[:depth], condition, GROUP)
        whole = predictor(*call)
        agreeing = [
            n
            for n in range(2, GROUP)
            if _agree(predictor, call, slice(n), whole)
            and _agree(predictor, call, slice(GROUP - n, GROUP), whole)
        ]
        paces.append(Pace((*agreeing, GROUP), _seconds(predictor, call) / GROUP))
    return RowGroups(predictor, paces)


@torch.inference_mode()
def bucket_groups(
    predictor: NoisePredictor, shapes: Shapes, condition: Tensors, *, buckets: Sequence[int]
) -> RowGroups:
    """Warm up and time a call of every bucket; the largest go first, which need most memory."""
    paces = []
    for depth in range(1, len(shapes) + 1):
        seconds = {
            rows: _seconds(predictor, _specimen(shapes[:depth], condition, rows))
            for rows in sorted(buckets, reverse=True)
        }
        most = max(buckets)
        paces.append(Pace(tuple(sorted(buckets)), seconds[most] / most))
    return RowGroups(predictor, paces)


def buckets_up_to(rows: int, built: Sequence[int] = BUCKETS) -> tuple[int, ...]:
    """Of some buckets, those worth having for ticks of at most so many rows."""
    rising = sorted(built)
    enough = next((n for n in rising if n >= rows), rising[-1])
    return tuple(n for n in rising if n <= enough)


def _specimen(shapes: Shapes, condition: Tensors, rows: int) -> tuple[Tensors | Tensor, ...]:
    """Arguments of a call with so many rows: noise at all times, conditions in turn."""
    generator = torch.Generator().manual_seed(0)
    device = condition[0].device
    xs = tuple(torch.randn(rows, *s, generator=generator).to(device) for s in shapes)
    turns = torch.arange(rows, device=device) % len(condition[0])
    return xs, torch.linspace(0.05, 0.95, rows, device=device), *(c[turns] for c in condition)


def _agree(
    predictor: NoisePredictor, call: tuple[Tensors | Tensor, ...], rows: slice, whole: Tensors
) -> bool:
    """Whether these rows of a full group are the same without the others."""
    xs, *rest = call
    part = predictor(tuple(x[rows] for x in xs), *(v[rows] for v in rest))
    return all(torch.equal(p, w[rows]) for p, w in zip(part, whole, strict=True))


def _seconds(
    predictor: NoisePredictor, call: tuple[Tensors | Tensor, ...], calls: int = 3
) -> float:
    """The least that one of a few calls takes."""
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        predictor(*call)[-1].sum().item()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _padded(v: Tensor, rows: int) -> Tensor:
    """Append the last row this many times."""
    return torch.cat((v, v[-1:].expand(rows, *v.shape[1:]))) if rows else v
