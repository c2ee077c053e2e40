"""The one thing the service knows about models: a fixed number of slots that can be stepped.

Only builtins and numpy cross this boundary, so an implementation needs no import from here
and the API image needs no torch. `export.runtime` holds the implementations.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = Callable[[], NDArray[np.uint8]]
"""An image (h, w, 3) that is being decoded. Any one thread may call it, once, while the engine goes
on: it waits for the image."""


class Engine(Protocol):
    """Advances up to `capacity` independent trajectories, each with its own solver and progress.

    A slot is free, running or finished. One call of `step` is one tick: one network call for all
    the slots it names; slots of several sizes may take one call a size. An exception from any
    method but `plan` and `notice`, or another than ValueError from `admit`, leaves the engine in an
    unknown state: the caller must discard it.

    `plan` and `notice` are the two methods that any thread may call at any time.
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

    def plan(self, *, steps: int, sampler: str, guidance: float, size: int) -> Sequence[int]:
        """Network rows (1 or 2) of each network call of such a request; its sum is the cost.

        Raises:
            ValueError: the combination is not one that the solvers offer, or `size` is none of
                the card's.
        """

    def notice(self, prompt: str) -> str | None:
        """What whoever wrote this prompt should know, e.g. that it is cut off.

        None where there is nothing to say, and always where the model draws classes.
        """

    def admit(
        self,
        slot: int,
        *,
        condition: int | str,
        seed: int,
        steps: int,
        sampler: str,
        guidance: float,
        size: int,
    ) -> None:
        """Draw x_T for a free slot from its own generator.

        The result depends on these arguments alone, whatever the other slots do.

        Args:
            slot: a free slot.
            condition: a class index, or a prompt, as the card's conditioning says; the empty prompt
                is no condition.
            seed: the only source of chance.
            steps: as of `plan`.
            sampler: as of `plan`.
            guidance: as of `plan`.
            size: side of the image in pixels, one of the card's sizes.

        Raises:
            ValueError: an argument is not one that the model takes. The slot stays free, and the
                engine stays sound.
        """

    def step(self, slots: Sequence[int]) -> Sequence[int]:
        """Apply one network call to every slot given and return those that have just finished."""

    def preview(self, slot: int) -> Pixels | None:
        """What a running or finished slot looks like by now at the model's lowest size.

        None before its first step, and always where the card's `previews` is false.
        """

    def decode(self, slot: int) -> Pixels:
        """Begin to decode a finished slot to an image of shape (size, size, 3), and free the slot.

        An exception from the image leaves the engine in an unknown state, as one from here does.
        """

    def release(self, slot: int) -> None:
        """Free a slot whatever its state; freeing a free slot does nothing."""

    def close(self) -> None:
        """Release device memory; no other method may follow."""
