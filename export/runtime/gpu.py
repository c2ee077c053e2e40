"""A CUDA device as plans see it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from export.runtime.graphs import CudaGraphs, Graphs
from export.runtime.streams import CudaStreams, Streams


@dataclass(frozen=True, slots=True)
class Gpu:
    """What plans ask of a device; any that answers can take its place.

    Attributes:
        device: where they are.
        arch: as in "sm90".
        free_bytes: memory that is free.
        begin_streams: of ticks and decoding; they see what was put on the device before.
        begin_graphs: graphs that share working memory: one such group a stream.
    """

    device: torch.device
    arch: str
    free_bytes: Callable[[], int]
    begin_streams: Callable[[], Streams]
    begin_graphs: Callable[[], Graphs]

    @classmethod
    def of(cls, device: torch.device) -> "Gpu":
        """A device that is present."""
        major, minor = torch.cuda.get_device_capability(device)
        return cls(
            device,
            f"sm{major}{minor}",
            lambda: int(torch.cuda.mem_get_info(device)[0]),
            lambda: CudaStreams(device),
            lambda: CudaGraphs(device),
        )
