"""Ours against a naive form: times taken in turn, so that a drift of the machine meets both."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Call = Callable[[], object]

LEAST_S = 0.2  # of one measurement: shorter calls are repeated within it
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds a call, one for each round, and MiB it took beyond what was there; None on a CPU.

    The processor's seconds are those of all threads of this process: on a busy machine they tell
    more than the time that passed.
    """

    seconds: list[float]
    processor_seconds: list[float]
    memory_mib: int | None

    @property
    def least(self) -> float:
        """The round that the machine disturbed least."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The usual round."""
        return statistics.median(self.seconds)

    @property
    def processor(self) -> float:
        """The usual round in the processor's time."""
        return statistics.median(self.processor_seconds)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both forms take for the same; ratios are naive / ours, so above 1 ours is faster."""

    images: int  # of one call
    ours: Measured
    naive: Measured

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.naive.median / self.ours.median

    @property
    def processor_ratio(self) -> float:
        """Of the medians of the processor's time."""
        return self.naive.processor / self.ours.processor

    def record(self) -> dict[str, object]:
        """For JSON."""
        return {
            "ratio_of_medians": self.ratio,
            "ratio_of_minima": self.naive.least / self.ours.least,
            "ratio_of_processor_medians": self.processor_ratio,
        } | {form: self._described(found) for form, found in self._forms.items()}

    @property
    def _forms(self) -> dict[str, Measured]:
        return {"ours": self.ours, "naive": self.naive}

    def _described(self, found: Measured) -> dict[str, object]:
        return {
            "min_s": found.least,
            "median_s": found.median,
            "processor_median_s": found.processor,
            "images_per_s": self.images / found.median,
            "memory_mib": found.memory_mib,
        }


def compare(
    ours: Call,
    naive: Call,
    *,
    images: int,
    device: torch.device,
    rounds: int,
    after_round: Callable[[], object],
) -> Comparison:
    """Time two calls A B A B ..., after both have run twice.

    Args:
        ours: does its work on `device`.
        naive: does the same.
        images: how many one call handles.
        device: "cpu", or "cuda", where events take the time.
        rounds: measurements of each.
        after_round: called when a round is over.
    """
    clock = _cuda_seconds if device.type == "cuda" else _cpu_seconds
    calls = (ours, naive)
    measured = [Measured([], [], _working_memory_mib(call, device)) for call in calls]
    repeats = math.ceil(LEAST_S / min(clock(call, 1) for call in calls))
    for _ in range(rounds):
        for call, found in zip(calls, measured, strict=True):
            began = time.process_time()
            found.seconds.append(clock(call, repeats) / repeats)
            found.processor_seconds.append((time.process_time() - began) / repeats)
        after_round()
    return Comparison(images, *measured)


def _cpu_seconds(call: Call, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - began


def _cuda_seconds(call: Call, times: int) -> float:
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    began.record()
    for _ in range(times):
        call()
    ended.record()
    ended.synchronize()
    milliseconds: float = began.elapsed_time(ended)
    return milliseconds / 1e3


def _working_memory_mib(call: Call, device: torch.device) -> int | None:
    """The most memory that a call takes beyond what is there before, once it has run."""
    call()
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    return (torch.cuda.max_memory_allocated(device) - before) // MEBIBYTE
