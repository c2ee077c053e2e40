"""A network called in groups of rows whose results are bit-equal.

Kernels may round differently for different row counts, and an image must not depend on its
neighbours. So it is probed at start which row counts agree to the last bit, with the first rows and
with the last of a full group, and the network is called with no others.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from export.runtime.trajectory import Tensors
from model.diffusion.predictor import NoisePredictor

GROUP = 8  # rows of one network call; beyond it a row costs a CPU the same (tests/benchmarks)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the network is called for some of its scales.

    Attributes:
        row_counts: rows that a call may have, rising, `GROUP` the last of them.
        row_seconds: what a row of a full group takes.
    """

    row_counts: tuple[int, ...]
    row_seconds: float


class RowGroups:
    """Noise of any number of rows; each row's bits depend on its own inputs alone."""

    def __init__(
        self, predictor: NoisePredictor, shapes: Sequence[tuple[int, int, int]], condition: Tensors
    ) -> None:
        """Probe and measure.

        Args:
            predictor: the network, on its device.
            shapes: (C, d, d) of the tensors that it denoises together, low to high.
            condition: `GROUP` unlike rows of each tensor, to probe with.
        """
        self._predictor = predictor
        self._paces = [
            self._paced(shapes[:depth], condition) for depth in range(1, len(shapes) + 1)
        ]

    @property
    def paces(self) -> Sequence[Pace]:
        """Of calls for the lowest scale, the two lowest, and so on."""
        return self._paces

    def __call__(self, xs: Tensors, t: Tensor, condition: Tensors) -> Tensors:
        """Noise like `xs`, the lowest scales of any number of rows."""
        row_counts = self._paces[len(xs) - 1].row_counts
        parts = []
        for start in range(0, len(t), GROUP):
            rows = slice(start, start + GROUP)
            group = len(t[rows])
            missing = next(n for n in row_counts if n >= group) - group
            noises = self._predictor(
                tuple(_padded(x[rows], missing) for x in xs),
                _padded(t[rows], missing),
                *(_padded(c[rows], missing) for c in condition),
            )
            parts.append(tuple(noise[:group] for noise in noises))
        return tuple(torch.cat(scale) for scale in zip(*parts, strict=True))

    @torch.inference_mode()
    def _paced(self, shapes: Sequence[tuple[int, int, int]], condition: Tensors) -> Pace:
        generator = torch.Generator().manual_seed(0)
        device = condition[0].device
        xs = tuple(torch.randn(GROUP, *s, generator=generator).to(device) for s in shapes)
        t = torch.linspace(0.05, 0.95, GROUP, device=device)
        whole = self._predictor(xs, t, *condition)
        agreeing = [
            n
            for n in range(2, GROUP)
            if self._agree(slice(n), whole, xs, t, condition)
            and self._agree(slice(GROUP - n, GROUP), whole, xs, t, condition)
        ]
        return Pace((*agreeing, GROUP), self._seconds(xs, t, condition) / GROUP)

    def _agree(
        self, rows: slice, whole: Tensors, xs: Tensors, t: Tensor, condition: Tensors
    ) -> bool:
        """Whether these rows of a full group are the same without the others."""
        part = self._predictor(tuple(x[rows] for x in xs), t[rows], *(c[rows] for c in condition))
        return all(torch.equal(p, w[rows]) for p, w in zip(part, whole, strict=True))

    def _seconds(self, xs: Tensors, t: Tensor, condition: Tensors, calls: int = 3) -> float:
        """The least that one of a few calls takes."""
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            self._predictor(xs, t, *condition)[-1].sum().item()
            seconds.append(time.perf_counter() - began)
        return min(seconds)


def _padded(v: Tensor, rows: int) -> Tensor:
    """Append the last row this many times."""
    return torch.cat((v, v[-1:].expand(rows, *v.shape[1:]))) if rows else v
