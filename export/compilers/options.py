"""What a build is asked for, and how it says how far it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from export.graph.precision import Precision


class Norms(StrEnum):
    """What makes one kernel of a time-dependent norm."""

    COMPILER = "compiler"
    PLUGIN = "plugin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to build.

    Attributes:
        arch: GPU architecture such as "sm80"; None leaves it to the compiler, or there is none.
        precision: of the greater part of the network.
        buckets: numbers of rows that calls have, rising, at least one.
        workspace_mib: most memory in MiB that a layer may use beside its inputs and outputs; None
            is the library's default.
        norms: whether the compiler fuses norms, or a plugin takes their place.
        most_rows: that calls ever have, as `Part` says; None where that depends on who calls.

    Raises:
        ValueError: buckets that do not rise, or none.
    """

    arch: str | None
    precision: Precision
    buckets: tuple[int, ...]
    workspace_mib: int | None = None
    norms: Norms = Norms.COMPILER
    most_rows: int | None = None

    def __post_init__(self) -> None:
        """Check the buckets."""
        if self.buckets != rising(self.buckets):
            msg = f"buckets: got {list(self.buckets)}; allowed: {list(rising(self.buckets))}"
            raise ValueError(msg)

    @property
    def largest(self) -> int:
        """The most rows of a call."""
        return max(self.buckets)

    @property
    def spans(self) -> tuple[tuple[int, int, int], ...]:
        """The least, the usual and the most rows of each bucket's profile; see `library`."""
        wide = 2 if self.most_rows is None else min(2, self.most_rows)
        return tuple((max(1, rows // 2), rows, max(wide, rows)) for rows in self.buckets)


class Progress(Protocol):
    """Is told how far a build is, from any thread."""

    def began(self, part: str, stage: str, steps: int | None = None) -> None:
        """A part has come to a stage, of so many steps if that is known."""
        ...

    def advanced(self, steps: int) -> None:
        """So many steps of the stage are done."""
        ...


class Silence:
    """Progress that nobody looks at."""

    def began(self, part: str, stage: str, steps: int | None = None) -> None:
        """Do nothing."""

    def advanced(self, steps: int) -> None:
        """Do nothing."""


def rising(buckets: Sequence[int]) -> tuple[int, ...]:
    """Buckets in order, each once.

    Raises:
        ValueError: there is none, or one below 1.
    """
    ordered = tuple(sorted(set(buckets)))
    if not ordered or ordered[0] < 1:
        msg = f"buckets: got {list(buckets)}; allowed: one or more whole numbers from 1"
        raise ValueError(msg)
    return ordered
