"""Solver state of all slots: one row a slot and scale, advanced together by one affine map.

Slots are at different steps of different tables; a tick gathers one table row a slot, so all
arithmetic below is over vectors (B,) and nothing branches on a value. A model denoises one tensor
or, if it is layered, several scales of an image by one network call; a slot takes part with as many
of them, from the lowest on, as its image needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.diffusion.guidance import guided
from model.diffusion.prediction import data_from_noise
from model.sampling.tables import SolverTable
from model.sampling.update import advance

HISTORY = 2  # data predictions kept for a table row beside the new one: m_{k-1}, m_{k-2}

Tensors = tuple[Tensor, ...]
Threshold = Callable[[Tensor], Tensor]
Network = Callable[[Tensors, Tensor, Tensors], Tensors]
"""(states (B, C, d, d) low to high, t (B,), condition of B rows) -> noise in each state."""


class Trajectories:
    """State, anchor and history of every scale of `capacity` slots, in float32."""

    def __init__(
        self,
        capacity: int,
        shapes: Sequence[tuple[int, int, int]],
        *,
        null: Sequence[Tensor],
        threshold: Threshold,
    ) -> None:
        """Allocate everything once.

        Args:
            capacity: number of slots.
            shapes: (C, d, d) of the tensors that are denoised together, low to high.
            null: one row of each tensor of a condition, that of the unconditional half; the state
                lives where these are.
            threshold: applied to every data prediction, e.g. a clamp in pixel space.
        """
        self._device = null[0].device
        self._scales = [_Scale.of(capacity, shape, self._device) for shape in shapes]
        self._condition = [row.expand(capacity, *row.shape[1:]).clone() for row in null]
        self._null = tuple(null)
        self._runs: list[_Run | None] = [None] * capacity
        self._threshold = threshold

    def start(
        self,
        slot: int,
        tables: Sequence[SolverTable],
        noise: Sequence[Tensor],
        condition: Sequence[Tensor],
    ) -> None:
        """Put noise into a free slot.

        Args:
            slot: a free slot.
            tables: one for each scale that the image needs, low to high, of the same times.
            noise: (1, C, d, d) of each of these scales at least, low to high.
            condition: one row of each tensor.
        """
        for scale, x in zip(self._scales, noise[: len(tables)], strict=False):
            scale.start(slot, x[0])
        for kept, row in zip(self._condition, condition, strict=True):
            kept[slot] = row[0]
        self._runs[slot] = _Run(torch.stack([_packed(table) for table in tables], dim=1))

    def step(self, slots: Sequence[int], network: Network) -> list[int]:
        """Make the next network call of every slot given; returns those that are finished.

        Slots that need equally many scales share a call, which computes these scales alone.
        """
        groups: dict[int, list[int]] = {}
        for slot in slots:
            groups.setdefault(self._run(slot).depth, []).append(slot)
        for depth, group in groups.items():
            self._advance(group, depth, network)
        return [slot for slot in slots if self._run(slot).finished]

    def state(self, slot: int) -> Tensor:
        """The present x of the highest scale that a slot needs, (C, d, d)."""
        return self._scales[self._run(slot).depth - 1].x[slot]

    def lowest_data(self, slot: int) -> Tensor | None:
        """The latest data prediction of a slot's lowest scale, (C, d, d); None before the first."""
        return self._scales[0].history[0, slot] if self._run(slot).done else None

    def release(self, slot: int) -> None:
        """Forget a slot, whatever its state."""
        self._runs[slot] = None

    def _run(self, slot: int) -> "_Run":
        run = self._runs[slot]
        assert run is not None, f"slot {slot} is free"
        return run

    def _advance(self, slots: list[int], depth: int, network: Network) -> None:
        """One network call and one solver update of slots that need this many scales."""
        index = torch.tensor(slots, device=self._device)
        runs = [self._run(slot) for slot in slots]
        rows = torch.stack([run.rows[run.done] for run in runs])
        columns = rows.to(self._device, torch.float32).unbind(1)  # (B, 9) a scale
        scales = self._scales[:depth]
        xs = tuple(scale.x[index] for scale in scales)
        condition = tuple(kept[index] for kept in self._condition)
        noises = self._guided_noise(xs, columns[0], condition, network)
        for scale, x, noise, row in zip(scales, xs, noises, columns, strict=True):
            scale.advance(index, x, noise, row, self._threshold)
        for run in runs:
            run.done += 1

    def _guided_noise(
        self, xs: Tensors, row: Tensor, condition: Tensors, network: Network
    ) -> Tensors:
        """Noise predictions like `xs`; samples whose guidance is exactly 1 have no second half."""
        t, _, _, guidance, *_ = row.unbind(-1)
        twice = (guidance != 1).nonzero().squeeze(-1)
        null = (row.expand(len(twice), *row.shape[1:]) for row in self._null)
        both = network(
            tuple(torch.cat((x, x[twice])) for x in xs),
            torch.cat((t, t[twice])),
            tuple(torch.cat(halves) for halves in zip(condition, null, strict=True)),
        )
        noises = tuple(noise[: len(t)] for noise in both)
        for noise, whole in zip(noises, both, strict=True):
            noise[twice] = guided(noise[twice], whole[len(t) :], guidance[twice])
        return noises


@dataclass(slots=True)
class _Run:
    """A slot's solver tables, packed (n, scales, 9) in float64, and the calls made."""

    rows: Tensor
    done: int = 0

    @property
    def depth(self) -> int:
        """Scales that the image needs."""
        return self.rows.shape[1]

    @property
    def finished(self) -> bool:
        return self.done == len(self.rows)


@dataclass(frozen=True, slots=True)
class _Scale:
    """One tensor that is denoised: x and anchor (capacity, C, d, d), history before that axis."""

    x: Tensor
    anchor: Tensor
    history: Tensor

    @classmethod
    def of(cls, capacity: int, shape: tuple[int, int, int], device: torch.device) -> "_Scale":
        """Allocate."""
        x = torch.zeros(capacity, *shape, device=device)
        return cls(x, x.clone(), torch.zeros(HISTORY, *x.shape, device=device))

    def start(self, slot: int, noise: Tensor) -> None:
        """Put noise (C, d, d) into a slot."""
        self.x[slot] = noise
        self.anchor[slot] = noise
        self.history[:, slot] = 0

    def advance(
        self, index: Tensor, x: Tensor, noise: Tensor, row: Tensor, threshold: Threshold
    ) -> None:
        """Take the slots of `index`, at states x, through one table row (B, 9) each."""
        _, alpha, sigma, _, c_x, c_0, c_1, c_2, moves = row.unbind(-1)
        m = threshold(data_from_noise(x, noise, alpha=alpha, sigma=sigma))
        m_1, m_2 = self.history[0, index], self.history[1, index]
        self.x[index], self.anchor[index] = advance(
            self.anchor[index], m, m_1, m_2, c_x, c_0, c_1, c_2, moves.bool()
        )
        self.history[:, index] = torch.stack((m, m_1))


def _packed(table: SolverTable) -> Tensor:
    """One float64 row a network call: t, alpha, sigma, guidance, c_x, c_0, c_1, c_2, update."""
    return torch.stack(
        (
            table.t,
            table.alpha,
            table.sigma,
            table.guidance,
            table.c_x,
            table.c_0,
            table.c_1,
            table.c_2,
            table.update_anchor.double(),
        ),
        dim=-1,
    )
