"""What a plan must take and give for this bundle, and what it needs of a device: no device here.

Rows are the first axis of every tensor and the only one that varies; -1 stands for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

import torch
from torch import Tensor

ALIGNMENT = 256  # bytes, of every address that a plan is given
ROWS = -1

_SIZES = {torch.float32: 4, torch.float16: 2, torch.bfloat16: 2, torch.int64: 8, torch.bool: 1}


@dataclass(frozen=True, slots=True)
class Binding:
    """A tensor that a plan reads or writes: its dtype, and its shape with `ROWS` in front."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def like(cls, example: Tensor) -> Self:
        """That of an example with any number of rows."""
        return cls(example.dtype, (ROWS, *example.shape[1:]))

    def bytes_of(self, rows: int) -> int:
        """Memory for so many rows, a multiple of `ALIGNMENT`."""
        size = rows * prod(self.shape[1:]) * _SIZES[self.dtype]
        return -(-size // ALIGNMENT) * ALIGNMENT

    def __str__(self) -> str:
        """As in "float32 (rows, 3, 8, 8)"."""
        sides = ", ".join("rows" if side == ROWS else str(side) for side in self.shape)
        return f"{str(self.dtype).removeprefix('torch.')} ({sides})"


@dataclass(frozen=True, slots=True)
class Profile:
    """Row counts that one optimisation profile of a plan takes, and the one it is made for."""

    least: int
    best: int
    most: int


def misfit(found: Mapping[str, Binding], wanted: Mapping[str, Binding], verb: str) -> str | None:
    """How a plan's inputs or outputs differ from the network's; None if they fit.

    Args:
        found: the plan's.
        wanted: the network's.
        verb: what either does with them, for the message, e.g. "takes".
    """
    if found.keys() != wanted.keys():
        return f"it {verb} {', '.join(found)}; the network {verb} {', '.join(wanted)}"
    for name, binding in wanted.items():
        if found[name] != binding:
            return f"its {name} is {found[name]}; the network's is {binding}"
    return None


def profile_for(rows: int, profiles: Sequence[Profile]) -> int | None:
    """The profile to run so many rows by: the narrowest that takes them; None if none does."""
    fit = [k for k, profile in enumerate(profiles) if profile.least <= rows <= profile.most]
    return min(
        fit,
        key=lambda k: (profiles[k].most - profiles[k].least, abs(profiles[k].best - rows)),
        default=None,
    )


def memory_needed(
    bindings: Sequence[Binding], buckets: Sequence[int], scratch: Sequence[int]
) -> int:
    """Bytes on the device beside the plan's weights.

    Args:
        bindings: all that is read and written, of each part.
        buckets: row counts, each of which has buffers of its own; the caller's own arguments and
            results come on top, of the largest.
        scratch: working memory of each part; they take turns, so the most counts.
    """
    held = (*buckets, max(buckets))
    buffers = sum(binding.bytes_of(rows) for binding in bindings for rows in held)
    return buffers + max(scratch, default=0)
