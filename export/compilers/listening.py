"""What TensorRT says while it parses and builds, and how a build is ended before its time."""

import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from export.compilers.options import Progress

SAID = 400  # characters of a library's message that are passed on
_LAYERS = "Layers:"  # what the dump of an engine's layers begins with


def log_of(trt: Any) -> Any:  # noqa: ANN401 - of a class that is the library's
    """A log for a library, which keeps `errors` and `layers`, both lists of what it said."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the library's classes have no types
        """Keeps errors, and the last dump of layers."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.layers: list[str] = []

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(f"{' '.join(message.split()):.{SAID}}")
            if _LAYERS in message.splitlines()[:1] or message.rstrip().endswith(_LAYERS):
                self.layers = [message]
            elif self.layers:
                self.layers.append(message)

    return Log()


def monitor_of(
    trt: Any,  # noqa: ANN401
    part: str,
    progress: Progress,
    interrupted: threading.Event,
) -> Any:  # noqa: ANN401 - of a class that is the library's
    """A monitor for a library, which ends the build at its next step once interrupted."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # no types
        """Passes on the innermost of the phases that have begun, which lie in one another.

        It ends the build once that is interrupted; nothing may raise here.
        """

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}  # of each phase, the innermost last
            self._done: dict[str, int] = {}

        def phase_start(self, phase: str, _parent: str | None, steps: int) -> None:
            self._steps[phase], self._done[phase] = steps, 0
            progress.began(part, phase, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            self._done[phase] = step + 1
            if phase == next(reversed(self._steps), None):
                progress.advanced(step + 1)
            return not interrupted.is_set()

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)
            around = next(reversed(self._steps), None)
            if around is not None:
                progress.began(part, around, self._steps[around])
                progress.advanced(self._done[around])

    return Monitor()


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """Note SIGINT meanwhile, and raise it at the end: an exception inside a callback would abort.

    Elsewhere than in the main thread signals cannot be caught, and nothing is changed.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        interrupted.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted.is_set():
        raise KeyboardInterrupt


def fault(error: Any) -> str:  # noqa: ANN401 - the library's
    """A parser's error with the node it is about."""
    said = f"{' '.join(error.desc().split()):.{SAID}}"
    named = f"node {error.node_name()!r} ({error.node_operator()})"
    around = [str(name) for name in error.local_function_stack()]
    within = f" in {' > '.join(around)}" if around else ""
    return f"{named}{within}: {said}"


def named_in(said: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Those layers that messages name, each as a whole: "Address" does not name a layer "Add"."""
    text = " ".join(said)
    return [
        name
        for name in names
        if name and re.search(rf"(?<![\w./]){re.escape(name)}(?![\w/]|\.\w)", text)
    ]
