"""What is measured, at which sizes: those of a GPU, or such small ones that a CPU rehearses all."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from model.files import write_whole
from model.specs.networks import Norm


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a norm: `samples` times `tokens` of them, `width` channels each."""

    norm: Norm
    width: int
    tokens: int
    samples: int

    @property
    def name(self) -> str:
        return f"{self.norm.value} {self.samples}x{self.tokens}x{self.width}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Attributes:
    copy_bytes: of the tensor that is copied.
    cube: side of the matrices that are multiplied.
    streaming: norms over many times the cache, where only bandwidth counts.
    serving: norms as a tick has them.
    states: (many slots, slots of a tick) of an update.
    state: (C, d, d) of one.
    timed: precisions in which norms are timed; in the others they are checked alone.
    checked: these.
    norms_compiled: in which torch.compile has a go at them as well.
    buckets: rows of a call, those that tell most first.
    reference: those of the reference engine, whose ticks are long.
    ticks: of which a median is taken, at most.
    compiled: those of a network that is compiled for each.
    steps: of the images that are timed.
    images: that parity is taken over, of a bundle.
    rounds: medians are of so many.
    round_s: what a round takes at least.
    """

    copy_bytes: int
    cube: int
    streaming: tuple[Rows, ...]
    serving: tuple[Rows, ...]
    states: tuple[int, int]
    state: tuple[int, int, int]
    timed: tuple[str, ...]
    checked: tuple[str, ...]
    norms_compiled: str
    buckets: tuple[int, ...]
    reference: tuple[int, ...]
    ticks: int
    compiled: tuple[int, ...]
    steps: tuple[int, ...]
    images: int
    rounds: int
    round_s: float

    @property
    def capacity(self) -> int:
        """Slots that fill the largest bucket with guidance."""
        return max(self.buckets) // 2


WHOLE = Sizes(
    copy_bytes=2**32,
    cube=8192,
    streaming=(  # of XL/2R: half a gigabyte each in 16 bits
        Rows(Norm.TD_RMSNORM, 960, 257, 1024),
        Rows(Norm.TD_RMSNORM, 480, 1024, 512),
        Rows(Norm.TD_LAYERNORM, 480, 1024, 512),
        Rows(Norm.TD_LAYERNORM, 38400, 256, 32),
    ),
    serving=(Rows(Norm.TD_RMSNORM, 960, 257, 32), Rows(Norm.TD_RMSNORM, 480, 1024, 32)),
    states=(8192, 16),
    state=(4, 32, 32),
    timed=("fp16", "bf16"),
    checked=("fp32",),
    norms_compiled="fp16",
    buckets=(2, 32, 8, 16, 4, 1),
    reference=(2, 8),
    ticks=40,
    compiled=(2, 32, 8, 16, 4, 1),
    steps=(20, 50),
    images=24,
    rounds=15,
    round_s=0.02,
)

SMALL = Sizes(
    copy_bytes=2**16,
    cube=32,
    streaming=(Rows(Norm.TD_RMSNORM, 40, 5, 2), Rows(Norm.TD_LAYERNORM, 24, 3, 1)),
    serving=(Rows(Norm.TD_LAYERNORM, 40, 3, 2),),
    states=(3, 2),
    state=(4, 8, 8),
    timed=("bf16",),
    checked=("fp32",),
    norms_compiled="bf16",
    buckets=(2, 4, 1),
    reference=(2,),
    ticks=2,
    compiled=(2,),
    steps=(2, 3),
    images=2,
    rounds=1,
    round_s=0.0,
)


def ceilings_of(scratch: Path) -> Mapping[str, Any]:
    """What the section of that name found, as far as it did."""
    found = scratch / "ceilings.json"
    ceilings: dict[str, Any] = json.loads(found.read_text())["figures"] if found.exists() else {}
    return ceilings


def described(error: Exception) -> str:
    """The kind of an error, and how its message begins."""
    return f"{type(error).__name__}: {str(error).strip()[:600] or 'without a message'}"


@dataclass(slots=True)
class Setting:
    """One section's run: where it computes, what it may take, and where its figures go.

    Attributes:
        device: "cuda", or in a rehearsal "cpu".
        out: the section's JSON, rewritten with every figure.
        scratch: a folder that all sections share.
        ceilings: figures of the section of that name, as far as there are any.
        ends: when its time is over, by `time.monotonic`.
    """

    device: torch.device
    out: Path
    scratch: Path
    ceilings: Mapping[str, Any]
    ends: float
    figures: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def rehearsal(self) -> bool:
        return self.device.type == "cpu"

    @property
    def sizes(self) -> Sizes:
        return SMALL if self.rehearsal else WHOLE

    def share(self, ceiling: str, rate: float) -> float | None:
        """A rate as a fraction of what was measured; None where that was not."""
        measured = self.ceilings.get(ceiling)
        return None if measured is None else rate / measured["per_s"]

    def attempt(self, name: str, case: Callable[[], object]) -> None:
        """Keep the figures of one case, or why there are none, and go on."""
        if time.monotonic() > self.ends:
            self.errors[name] = "left out: the section's time was over"
        else:
            try:
                self.figures[name] = case()
            except Exception as error:  # whatever it is, the other cases are still to come
                self.errors[name] = described(error)
        self.write()

    def write(self) -> None:
        document = {"figures": self.figures, "errors": self.errors}
        write_whole(self.out, json.dumps(document).encode())
