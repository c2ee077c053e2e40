"""The one thing the service knows about models: a fixed number of slots that can be stepped.

Only builtins and numpy cross this boundary, so an implementation needs no import from here
and the API image needs no torch. `export.runtime` holds the implementations.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """Advances up to `capacity` independent trajectories, each with its own solver and progress.

    A slot is free, running or finished. One call of `step` is one tick: one network call for all
    the slots it names. An exception from any method but `plan` leaves the engine in an unknown
    state: the caller must discard it.
    """

    @property
    def capacity(self) -> int:
        """Number of slots; slot indices are 0 <= slot < capacity."""

    @property
    def card(self) -> Mapping[str, object]:
        """JSON-ready facts about the model, read by `service.cards.ModelCard`."""

    @property
    def rows_per_s(self) -> float:
        """Network rows per second at full load, measured at start; what the first ETAs rest on."""

    def plan(self, *, steps: int, sampler: str, guidance: float) -> Sequence[int]:
        """Network rows (1 or 2) of each network call of such a request; its sum is the cost.

        The one method that any thread may call at any time.

        Raises:
            ValueError: the combination is not one that the solvers offer.
        """

    def admit(
        self, slot: int, *, label: int, seed: int, steps: int, sampler: str, guidance: float
    ) -> None:
        """Draw x_T for a free slot from its own generator; the result depends on `seed` alone."""

    def step(self, slots: Sequence[int]) -> Sequence[int]:
        """Apply one network call to every slot given and return those that have just finished."""

    def take(self, slot: int) -> NDArray[np.uint8]:
        """Decode a finished slot to an image of shape (H, W, 3) and free the slot."""

    def release(self, slot: int) -> None:
        """Free a slot whatever its state; freeing a free slot does nothing."""

    def close(self) -> None:
        """Release device memory; no other method may follow."""
