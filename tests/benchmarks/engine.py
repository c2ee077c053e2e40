"""The engine: seconds of a tick by occupied slots, and of a mixed load at once or one by one."""

import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from export.runtime.build import build_engine

STEPS = (10, 20, 50)


def measure(folder: Path, rounds: int) -> dict[str, object]:
    """Measure the engine of a bundle, print tables, and return what belongs into the JSON."""
    load = Load(folder)
    ticks = {slots: load.tick_ms(slots, rounds) for slots in (1, 2, 4, 8, 16)}
    together, alone = [], []
    for _ in range(rounds):  # in turn, so that a drift of the machine meets both
        together.append(load.mixed_s(at_once=12))
        alone.append(load.mixed_s(at_once=1))
    ratio = statistics.median(a / t for a, t in zip(alone, together, strict=True))
    table = Table("slots", "tick ms", "ms per image step", title="guided ticks")
    for slots, milliseconds in ticks.items():
        table.add_row(str(slots), f"{milliseconds:.1f}", f"{milliseconds / slots:.2f}")
    console = Console()
    console.print(table)
    console.print(f"12 mixed requests: one by one takes {ratio:.2f} x the time of all at once")
    return {
        "engine": load.chosen,
        "guided_tick_ms_by_slots": ticks,
        "mixed_together_s": statistics.median(together),
        "mixed_one_by_one_s": statistics.median(alone),
        "ratio_one_by_one_to_together": ratio,
    }


class Load:
    """Images of a bundle's highest size, one class or prompt a slot."""

    def __init__(self, folder: Path) -> None:
        """Open a bundle as a worker does that was told no engine."""
        self._engine = build_engine(folder, device="cpu", capacity=16)
        card: Any = self._engine.card
        self.chosen: dict[str, object] = card["engine"]
        self._size = card["sizes"][-1]
        self._prompts = "prompt" in card["conditioning"]

    def tick_ms(self, slots: int, rounds: int) -> float:
        """Median milliseconds of one tick with guidance in all of these slots."""
        chosen = list(range(slots))
        for slot in chosen:
            self._admit(slot, 250, 2.0)
        self._engine.step(chosen)
        seconds = []
        for _ in range(4 * rounds):
            began = time.perf_counter()
            self._engine.step(chosen)
            seconds.append(time.perf_counter() - began)
        for slot in chosen:
            self._engine.release(slot)
        return statistics.median(seconds) * 1e3

    def mixed_s(self, *, at_once: int) -> float:
        """Seconds for 12 requests of 10, 20 and 50 steps, guidance 1 and 3, so many at a time."""
        waiting = [(STEPS[k % 3], (1.0, 3.0)[k % 2]) for k in range(12)]
        running: set[int] = set()
        began = time.perf_counter()
        while waiting or running:
            while waiting and len(running) < at_once:
                slot = next(s for s in range(self._engine.capacity) if s not in running)
                self._admit(slot, *waiting.pop())
                running.add(slot)
            for slot in self._engine.step(sorted(running)):
                self._engine.take(slot)
                running.discard(slot)
        return time.perf_counter() - began

    def _admit(self, slot: int, steps: int, guidance: float) -> None:
        self._engine.admit(
            slot,
            condition="apple " * slot if self._prompts else slot,
            seed=slot,
            steps=steps,
            sampler="dpmpp_2m",
            guidance=guidance,
            size=self._size,
        )
