"""What a call takes, by the device's own events where there is one."""

import math
import statistics
import time
from collections.abc import Callable

import torch

from export.runtime.graphs import CudaGraphs, Run
from tests.benchmarks.gpu.setting import Setting

WARM_UPS = 3
LEAST = 2  # calls of a series
MOST_REPEATS = 10_000


def timed(setting: Setting, call: Callable[[], object]) -> dict[str, float]:
    """Seconds of a call: the median of the rounds, the least and the most."""
    clock = _events if setting.device.type == "cuda" else _counter
    repeats = 1
    if setting.sizes.round_s:
        for _ in range(WARM_UPS):
            call()
        repeats = min(math.ceil(setting.sizes.round_s / max(clock(call, 1), 1e-6)), MOST_REPEATS)
    seconds = [clock(call, repeats) / repeats for _ in range(setting.sizes.rounds)]
    return {
        "median_s": statistics.median(seconds),
        "least_s": min(seconds),
        "most_s": max(seconds),
    }


def series(call: Callable[[], object], *, most: int, limit_s: float) -> list[float]:
    """Seconds of each of `LEAST` calls, and of more as long as all together stay in the limit."""
    seconds: list[float] = []
    while len(seconds) < LEAST or (len(seconds) < most and sum(seconds) < limit_s):
        seconds.append(_counter(call, 1))
    return seconds


def recorded(setting: Setting, run: Run) -> Callable[[], object]:
    """What repeats a run without the host's part in it; on a CPU the run itself."""
    if setting.device.type != "cuda":
        return run
    _, replay = CudaGraphs(setting.device).capture(run)
    return replay


def unlimited_recompiles() -> None:
    """Let torch.compile compile one code for every shape: beyond its limit it would run eagerly."""
    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.fail_on_recompile_limit_hit = True


def _events(call: Callable[[], object], times: int) -> float:
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    began.record()
    for _ in range(times):
        call()
    ended.record()
    ended.synchronize()
    milliseconds: float = began.elapsed_time(ended)
    return milliseconds / 1e3


def _counter(call: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - began
