"""Solver state of all slots: one row a slot, advanced together by one affine map.

Slots are at different steps of different tables; a tick gathers one table row a slot, so all
arithmetic below is over vectors (B,) and nothing branches on a value.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model.diffusion.guidance import guided
from model.diffusion.prediction import data_from_noise
from model.sampling.noise import initial_noise
from model.sampling.tables import SolverTable
from model.sampling.update import advance

HISTORY = 2  # data predictions kept for a table row beside the new one: m_{k-1}, m_{k-2}

Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, t (B,), y (B,)) -> noise like x


class Trajectories:
    """State x, anchor and history of `capacity` slots, in float32."""

    def __init__(
        self,
        capacity: int,
        shape: tuple[int, ...],
        *,
        null_label: int,
        threshold: Callable[[Tensor], Tensor],
        device: torch.device,
    ) -> None:
        """Allocate everything once.

        Args:
            capacity: number of slots.
            shape: (C, H, W) of the denoised tensor.
            null_label: class index of the unconditional half.
            threshold: applied to every data prediction, e.g. a clamp in pixel space.
            device: where the state lives.
        """
        self._x = torch.zeros(capacity, *shape, device=device)
        self._anchor = torch.zeros_like(self._x)
        self._history = torch.zeros(HISTORY, capacity, *shape, device=device)
        self._labels = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._tables: list[Tensor | None] = [None] * capacity
        self._done = [0] * capacity
        self._null_label = null_label
        self._threshold = threshold

    def start(self, slot: int, table: SolverTable, *, label: int, seed: int) -> None:
        """Put noise drawn from `seed` alone into a free slot."""
        noise = initial_noise([seed], tuple(self._x.shape[1:]))[0].to(self._x.device)
        self._x[slot] = noise
        self._anchor[slot] = noise
        self._history[:, slot] = 0
        self._labels[slot] = label
        self._tables[slot] = _packed(table)
        self._done[slot] = 0

    def step(self, slots: Sequence[int], network: Network) -> list[int]:
        """Make the next network call of every slot given; returns those that are finished."""
        index = torch.tensor(slots, device=self._x.device)
        rows = torch.stack([self._table(slot)[self._done[slot]] for slot in slots])
        t, alpha, sigma, guidance, c_x, c_0, c_1, c_2, moves = rows.to(self._x).unbind(-1)
        x = self._x[index]
        noise = self._guided_noise(x, t, self._labels[index], guidance, network)
        m = self._threshold(data_from_noise(x, noise, alpha=alpha, sigma=sigma))
        m_1, m_2 = self._history[0, index], self._history[1, index]
        self._x[index], self._anchor[index] = advance(
            self._anchor[index], m, m_1, m_2, c_x, c_0, c_1, c_2, moves.bool()
        )
        self._history[:, index] = torch.stack((m, m_1))
        for slot in slots:
            self._done[slot] += 1
        return [slot for slot in slots if self._done[slot] == len(self._table(slot))]

    def state(self, slot: int) -> Tensor:
        """The present x of a slot, (C, H, W)."""
        return self._x[slot]

    def release(self, slot: int) -> None:
        """Forget a slot, whatever its state."""
        self._tables[slot] = None

    def _table(self, slot: int) -> Tensor:
        table = self._tables[slot]
        assert table is not None, f"slot {slot} is free"
        return table

    def _guided_noise(
        self, x: Tensor, t: Tensor, labels: Tensor, guidance: Tensor, network: Network
    ) -> Tensor:
        """Noise prediction (B, C, H, W); rows whose guidance is exactly 1 have no second half."""
        twice = (guidance != 1).nonzero().squeeze(-1)
        null = torch.full_like(labels[twice], self._null_label)
        both = network(
            torch.cat((x, x[twice])), torch.cat((t, t[twice])), torch.cat((labels, null))
        )
        noise = both[: len(x)]
        noise[twice] = guided(noise[twice], both[len(x) :], guidance[twice])
        return noise


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
