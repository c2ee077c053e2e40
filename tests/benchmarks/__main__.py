"""Benchmarks: `python -m tests.benchmarks [engine]`; prints a table, writes JSON beside this file.

Figures of one run are compared as ratios; a machine's absolute ones mean little elsewhere.
"""

import argparse
import datetime
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from export.runtime.eager import EagerEngine
from model.bundle import load_bundle

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
STEPS = (10, 20, 50)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=["engine"], default="engine")
    parser.add_argument("--bundle", type=Path, default=ROOT / "deploy" / "models" / "emoji-32")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; medians are reported")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = {
        "benchmark": arguments.name,
        "command": f"python -m tests.benchmarks {arguments.name}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {_processor()}, {arguments.threads} threads",
        "torch": torch.__version__,
        "bundle": arguments.bundle.name,
        **_engine(arguments.bundle, arguments.rounds),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{arguments.name}-{result['date']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")
    return 0


def _engine(folder: Path, rounds: int) -> dict[str, object]:
    """Seconds of a tick by occupied slots, and of a mixed load together against one by one."""
    engine = EagerEngine(load_bundle(folder), capacity=16, device=torch.device("cpu"))
    ticks = {slots: _tick_ms(engine, slots, rounds) for slots in (1, 2, 4, 8, 16)}
    together, alone = [], []
    for _ in range(rounds):  # in turn, so that a drift of the machine meets both
        together.append(_mixed(engine, at_once=12))
        alone.append(_mixed(engine, at_once=1))
    ratio = statistics.median(a / t for a, t in zip(alone, together, strict=True))
    table = Table("slots", "tick ms", "ms per image step", title="guided ticks")
    for slots, milliseconds in ticks.items():
        table.add_row(str(slots), f"{milliseconds:.1f}", f"{milliseconds / slots:.2f}")
    console = Console()
    console.print(table)
    console.print(f"12 mixed requests: one by one takes {ratio:.2f} x the time of all at once")
    return {
        "guided_tick_ms_by_slots": ticks,
        "mixed_together_s": statistics.median(together),
        "mixed_one_by_one_s": statistics.median(alone),
        "ratio_one_by_one_to_together": ratio,
    }


def _admit(engine: EagerEngine, slot: int, steps: int, guidance: float) -> None:
    engine.admit(slot, label=slot, seed=slot, steps=steps, sampler="dpmpp_2m", guidance=guidance)


def _tick_ms(engine: EagerEngine, slots: int, rounds: int) -> float:
    """Median milliseconds of one tick with guidance in all of these slots."""
    chosen = list(range(slots))
    for slot in chosen:
        _admit(engine, slot, 250, 2.0)
    engine.step(chosen)
    seconds = []
    for _ in range(4 * rounds):
        began = time.perf_counter()
        engine.step(chosen)
        seconds.append(time.perf_counter() - began)
    for slot in chosen:
        engine.release(slot)
    return statistics.median(seconds) * 1e3


def _mixed(engine: EagerEngine, *, at_once: int) -> float:
    """Seconds for 12 requests of 10, 20 and 50 steps, guidance 1 and 3, so many at a time."""
    waiting = [(STEPS[k % 3], (1.0, 3.0)[k % 2]) for k in range(12)]
    running: set[int] = set()
    began = time.perf_counter()
    while waiting or running:
        while waiting and len(running) < at_once:
            slot = next(s for s in range(engine.capacity) if s not in running)
            _admit(engine, slot, *waiting.pop())
            running.add(slot)
        for slot in engine.step(sorted(running)):
            engine.take(slot)
            running.discard(slot)
    return time.perf_counter() - began


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
