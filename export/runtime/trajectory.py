"""Solver state of all slots: one row a slot and scale, advanced together by one affine map.

Slots are at different steps of different tables; a tick gathers one table row a slot, so all
arithmetic below is over vectors (B,) and nothing branches on a value. Which rows a call has depends
on the tables alone, so a tick asks the device for nothing and never waits for it. A model denoises
one tensor or, if it is layered, several scales of an image by one network call; a slot takes part
with as many of them, from the lowest on, as its image needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.diffusion.guidance import guided
from model.diffusion.prediction import data_from_noise
from model.sampling.tables import SolverTable
from model.sampling.update import advance

COLUMNS = 9  # of a packed row, see `_packed`
GUIDANCE = 3  # its column
HISTORY = 2  # data predictions kept for a table row beside the new one: m_{k-1}, m_{k-2}

Tensors = tuple[Tensor, ...]
Threshold = Callable[[Tensor], Tensor]
Network = Callable[[Tensors, Tensor, Tensors], Tensors]
"""(states (B, C, d, d) low to high, t (B,), condition of B rows) -> noise in each state."""


@dataclass(frozen=True, slots=True)
class Scale:
    """One tensor that is denoised: x and anchor (capacity, C, d, d), history before that axis."""

    x: Tensor
    anchor: Tensor
    history: Tensor

    @classmethod
    def of(cls, capacity: int, shape: tuple[int, int, int], device: torch.device) -> "Scale":
        """Allocate."""
        x = torch.zeros(capacity, *shape, device=device)
        return cls(x, x.clone(), torch.zeros(HISTORY, *x.shape, device=device))

    def start(self, slot: int, noise: Tensor) -> None:
        """Put noise (C, d, d) into a slot."""
        self.x[slot] = noise
        self.anchor[slot] = noise
        self.history[:, slot] = 0


@dataclass(frozen=True, slots=True)
class Ticked:
    """Slots whose noise has just been predicted.

    Attributes:
        index: (B,) int64 slots.
        twice: int64, which of the B have guidance, rising.
        rows: (B, 9) float32, of the solver's table; see `_packed`.
        noise: (B + len(twice), C, d, d) conditional predictions, then unconditional ones.
    """

    index: Tensor
    twice: Tensor
    rows: Tensor
    noise: Tensor


Update = Callable[[Scale, Ticked, Threshold], None]
"""Guidance, data prediction, threshold and the affine map: takes slots through their table rows."""


def update_scale(scale: Scale, ticked: Ticked, threshold: Threshold) -> None:
    """The solver's part of a tick in plain operations: the reference of fused ones."""
    index, twice = ticked.index, ticked.twice
    _, alpha, sigma, guidance, c_x, c_0, c_1, c_2, moves = ticked.rows.unbind(-1)
    conditional, unconditional = ticked.noise[: len(index)], ticked.noise[len(index) :]
    noise = conditional.index_copy(
        0, twice, guided(conditional[twice], unconditional, guidance[twice])
    )
    m = threshold(data_from_noise(scale.x[index], noise, alpha=alpha, sigma=sigma))
    m_1, m_2 = scale.history[0, index], scale.history[1, index]
    scale.x[index], scale.anchor[index] = advance(
        scale.anchor[index], m, m_1, m_2, c_x, c_0, c_1, c_2, moves.bool()
    )
    scale.history[:, index] = torch.stack((m, m_1))


class Trajectories:
    """State, anchor and history of every scale of `capacity` slots, in float32."""

    def __init__(
        self,
        capacity: int,
        shapes: Sequence[tuple[int, int, int]],
        *,
        null: Sequence[Tensor],
        threshold: Threshold,
        update: Update = update_scale,
    ) -> None:
        """Allocate everything once.

        Args:
            capacity: number of slots.
            shapes: (C, d, d) of the tensors that are denoised together, low to high.
            null: one row of each tensor of a condition, that of the unconditional half; the state
                lives where these are.
            threshold: applied to every data prediction, e.g. a clamp in pixel space.
            update: the solver's part of a tick.
        """
        self._device = null[0].device
        self._scales = [Scale.of(capacity, shape, self._device) for shape in shapes]
        self._condition = [row.expand(capacity, *row.shape[1:]).clone() for row in null]
        self._null = tuple(null)
        self._runs: list[_Run | None] = [None] * capacity
        self._threshold = threshold
        self._update = update

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
        runs = [self._run(slot) for slot in slots]
        rows = torch.stack([run.rows[run.done] for run in runs])
        twice = _sent((rows[:, 0, GUIDANCE] != 1).nonzero().squeeze(-1), self._device)
        index = _sent(torch.tensor(slots), self._device)
        columns = _sent(rows.float(), self._device).unbind(1)  # (B, 9) a scale
        scales = self._scales[:depth]
        noises = self._noises(scales, index, twice, columns[0][:, 0], network)
        for scale, noise, row in zip(scales, noises, columns, strict=True):
            self._update(scale, Ticked(index, twice, row, noise), self._threshold)
        for run in runs:
            run.done += 1

    def _noises(
        self,
        scales: Sequence[Scale],
        index: Tensor,
        twice: Tensor,
        t: Tensor,
        network: Network,
    ) -> Tensors:
        """Noise predictions of these slots, and without a condition of those that are guided."""
        condition = (kept[index] for kept in self._condition)
        null = (row.expand(len(twice), *row.shape[1:]) for row in self._null)
        xs = (scale.x[index] for scale in scales)
        return network(
            tuple(torch.cat((x, x[twice])) for x in xs),
            torch.cat((t, t[twice])),
            tuple(torch.cat(halves) for halves in zip(condition, null, strict=True)),
        )


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


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """Copy to a device without waiting for what it is doing.

    From pinned memory, which PyTorch does not give to others before the copy is done.
    """
    held = values.pin_memory() if device.type == "cuda" else values
    return held.to(device, non_blocking=True)


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
