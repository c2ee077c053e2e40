"""What training reads: examples with a label or captions, by index or in one fixed sequence.

A source that knows its length is read by index in any order. A stream is read from its beginning;
its sequence depends on (epoch, share) alone, so that a position in it is a place to resume from.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Example:
    """One example.

    Attributes:
        value: an image, uint8 (S, S, 3), or an autoencoder's moments, float32 (2 C, h, w).
        label: class index; None where there are captions.
        captions: what may be said of it, none of them empty.
    """

    value: NDArray[np.uint8] | NDArray[np.float32]
    label: int | None
    captions: tuple[str, ...] = ()


class Source(Protocol):
    """Examples by index."""

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order; none where examples have captions."""

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""

    @property
    def bad(self) -> Mapping[str, str]:
        """Why examples were left out so far, by where they are."""

    def __len__(self) -> int:
        """Number of examples."""

    def __getitem__(self, index: int) -> Example:
        """Read example `index`; raises `ExampleUnreadable`, which names it."""


@runtime_checkable
class Stream(Protocol):
    """Examples in a sequence."""

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order; none where examples have captions."""

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""

    @property
    def bad(self) -> Mapping[str, str]:
        """Why examples were left out so far, by where they are."""

    def read(self, *, epoch: int, share: int, shares: int, start: int = 0) -> Iterator[Example]:
        """One pass over part `share` of `shares`, from its example `start` on.

        The parts are disjoint and make up the whole. What comes before `start` is passed over
        without being decoded.
        """


def to_unit(images: NDArray[np.uint8]) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
