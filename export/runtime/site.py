"""Where a bundle is to be served."""

from dataclasses import dataclass
from pathlib import Path

import torch

from model.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Site:
    """A bundle, loaded and checked, and what it is to run on.

    Attributes:
        folder: where the bundle lies.
        bundle: what it holds.
        device: where slots live.
        capacity: slots.
        cache: a folder for what engines compile at start, to be found by the next one; None keeps
            nothing.
    """

    folder: Path
    bundle: Bundle
    device: torch.device
    capacity: int
    cache: Path | None = None

    @property
    def rows(self) -> int:
        """The most network rows of a tick: guidance doubles them."""
        return 2 * self.capacity
