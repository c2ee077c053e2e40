"""The processes of a run: which one this is, and what they do together.

One process needs no launcher. Several are started by `torchrun`, which sets RANK, WORLD_SIZE and
LOCAL_RANK; each then holds an equal part of every batch.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  # the first step may compile for long


class ProcessLost(RuntimeError):
    """Another process of the run has ended, so this one cannot go on."""

    def __init__(self) -> None:
        super().__init__("another process of this run has stopped; what it said tells why")


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size`; `device` is its own."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of `count` things; `size` must divide `count`."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def total(self, values: Tensor | Sequence[float]) -> list[float]:
        """Sums of each value over all processes, the same everywhere."""
        if self.size == 1:
            return values.tolist() if isinstance(values, Tensor) else list(values)
        sums = torch.as_tensor(values, device=self.device).double()
        dist.all_reduce(sums)
        found: list[float] = sums.tolist()
        return found

    def gathered(self, value: object) -> list[object]:
        """What every process holds, by rank, the same everywhere; `value` is pickled."""
        values: list[object] = [value]
        if self.size > 1:
            values *= self.size
            dist.all_gather_object(values, value)
        return values

    def collected(self, value: T) -> list[T]:
        """What every process holds, by rank, on the leading one; nothing elsewhere."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size if self.leads else []
        dist.gather_object(value, values if self.leads else None)
        return values

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the run that the environment describes, alone where it describes none.

    Args:
        device: "cpu" or "cuda"; each process takes the CUDA device of its LOCAL_RANK.

    Raises:
        ValueError: the device does not exist.
        ProcessLost: inside, where another process ended first.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    place = torch.device(device)
    if device == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            found = torch.cuda.device_count()
            msg = f"--device: got 'cuda' for process {local}; allowed: 'cpu', as {found} are found"
            raise ValueError(msg)
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    if "WORLD_SIZE" not in os.environ:
        yield World(0, 1, place)
        return
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        with warnings.catch_warnings():
            # false alarm: strides of axes of length 1 differ, as they may in depthwise kernels
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            yield World(rank, size, place)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "/gloo/transport/" in str(error):  # it has no type
            raise ProcessLost from error
        raise
    finally:
        dist.destroy_process_group()
