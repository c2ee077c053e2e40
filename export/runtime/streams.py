"""In which order a device does things: ticks one after another, decoding beside them.

On a CPU there is one order, that of the program. On a GPU ticks have a stream of high priority and
decoding one of low priority, which waits for the ticks before it and holds up none after it: the
thread that ticks begins to decode, and another waits for the image.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor


class Streams(Protocol):
    """Where an engine does its work."""

    def ticking(self) -> AbstractContextManager[None]:
        """What is begun within is done, in order, by the end of it: the one wait of a tick."""

    def decoding(self) -> AbstractContextManager[None]:
        """What is begun within follows all ticks before it and is not waited for by later ones."""

    def decoded(self, x: Tensor, decode: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        """Begin to decode a state, which later ticks may change.

        What is returned may be called on any thread: it waits for the images, which are on the CPU.
        """


class ProgramOrder:
    """Everything is done when it is called, as on a CPU."""

    def ticking(self) -> AbstractContextManager[None]:
        """Nothing to arrange."""
        return nullcontext()

    def decoding(self) -> AbstractContextManager[None]:
        """Nothing to arrange."""
        return nullcontext()

    def decoded(self, x: Tensor, decode: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        """Decode at once."""
        images = decode(x)
        return lambda: images


class OneThread(ProgramOrder):
    """Ticks in which PyTorch uses one thread, as another library has the cores.

    Threads of both, which spin while they wait, would hold each other up.
    """

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """PyTorch's threads are one, and as many as before afterwards."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class CudaStreams:
    """Two streams of one CUDA device.

    The host waits at the end of a tick, never within it, so that what a tick is measured to take is
    what it takes. Decoding works on a copy of the state, and its images go to pinned memory behind
    an event, so that whoever wants an image waits for that image alone.
    """

    def __init__(self, device: torch.device) -> None:
        least, greatest = 0, -1  # of CUDA: the lower the number, the sooner
        self._ticks = torch.cuda.Stream(device, priority=greatest)  # type: ignore[no-untyped-call]
        self._decoding = torch.cuda.Stream(device, priority=least)  # type: ignore[no-untyped-call]
        self._ticks.wait_stream(torch.cuda.current_stream(device))  # weights are on their way

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Work of the tick stream, waited for at the end."""
        with torch.cuda.stream(self._ticks):
            yield
        self._ticks.synchronize()

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Work of the decoding stream, behind all ticks so far."""
        self._decoding.wait_stream(self._ticks)
        with torch.cuda.stream(self._decoding):
            yield

    def decoded(self, x: Tensor, decode: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        """Begin to decode a copy of the state, made between two ticks."""
        with torch.cuda.stream(self._ticks):
            kept = x.clone()
        kept.record_stream(self._decoding)  # its memory is the tick stream's
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        with self.decoding():
            images = decode(kept)
            on_host = torch.empty(images.shape, dtype=images.dtype, pin_memory=True)
            on_host.copy_(images, non_blocking=True)
            done.record()

        def wait() -> Tensor:
            done.synchronize()
            return on_host

        return wait


def streams_of(device: torch.device) -> Streams:
    """What fits a device."""
    return CudaStreams(device) if device.type == "cuda" else ProgramOrder()
