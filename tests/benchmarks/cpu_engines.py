"""Which engine is the faster one on a CPU: PyTorch, or ONNX Runtime on the same bundle's graphs.

Rounds are taken in turn, so that a drift of the machine meets both, and what counts is the ratio.
An engine is fit to be the default only if it draws what PyTorch draws and every image is bit-equal
alone and in company; both are checked here, on images of several samplers.
"""

import math
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from export.compilers.build import build
from export.compilers.compiler import open_compiler
from export.compilers.options import Options, Silence
from export.graph.precision import Precision
from export.runtime.build import build_engine
from export.runtime.engine import SlotEngine

ENGINES = ("pytorch", "onnx")
SLOTS = (1, 2, 4, 8, 16)
CAPACITY = SLOTS[-1]
LEAST_S = 0.2  # of one measurement: a few ticks at least
SAMPLERS = ("dpmpp_2m", "dpmpp_3s", "ddim", "dpmpp_3m")


class Unequal(RuntimeError):
    """An engine draws other images than it may."""


def measure(folder: Path, rounds: int) -> dict[str, object]:
    """Build the graphs in a copy of a bundle, compare, print a table, and return the figures."""
    with tempfile.TemporaryDirectory() as aside:
        copy = shutil.copytree(folder, Path(aside) / folder.name)
        options = Options(arch=None, precision=Precision.FP32, buckets=(1, 2, 4, 8, 16))
        build(copy, open_compiler("onnx"), options, Silence(), overwrite=True)
        engines = {
            name: build_engine(copy, device="cpu", capacity=CAPACITY, engine=name)
            for name in ENGINES
        }
        agreement = _agreement(engines)
        seconds = {slots: _rounds(engines, slots, rounds) for slots in SLOTS}
    ratios = {
        slots: [a / b for a, b in zip(taken["pytorch"], taken["onnx"], strict=True)]
        for slots, taken in seconds.items()
    }
    table = Table("slots", "PyTorch ms", "ONNX ms", "ratio", "from", "to", title="guided ticks")
    for slots, taken in seconds.items():
        usual = (f"{statistics.median(taken[name]) * 1e3:.1f}" for name in ENGINES)
        several = sorted(ratios[slots])
        shown = (statistics.median(several), several[0], several[-1])
        table.add_row(str(slots), *usual, *(f"{ratio:.2f}" for ratio in shown))
    console = Console()
    console.print(table)
    console.print(f"ratio: PyTorch's time over ONNX Runtime's; {agreement}")
    return {
        "tick_ms": {
            n: {s: statistics.median(t[n]) * 1e3 for s, t in seconds.items()} for n in ENGINES
        },
        "pytorch_over_onnx": {slots: statistics.median(r) for slots, r in ratios.items()},
        "pytorch_over_onnx_of_each_round": ratios,
        "engines": {name: engine.card["engine"] for name, engine in engines.items()},
        **agreement,
    }


def _agreement(engines: dict[str, SlotEngine]) -> dict[str, object]:
    """How far the engines' images lie apart, once each engine's own do not depend on company.

    Raises:
        Unequal: an image is not the same alone and in company.
    """
    drawn = {name: _drawn(engine, range(len(SAMPLERS) * 2)) for name, engine in engines.items()}
    for name, engine in engines.items():
        for index, image in drawn[name].items():
            (alone,) = _drawn(engine, [index]).values()
            if not np.array_equal(alone, image):
                msg = f"{name}: image {index} is another one alone than in company"
                raise Unequal(msg)
    reference, other = (np.stack(list(drawn[name].values())).astype(int) for name in ENGINES)
    mean = float(np.square(reference - other).mean())
    return {
        "bit_equal_alone_and_in_company": True,
        "most_levels_apart": int(np.abs(reference - other).max()),
        "psnr_db": None if mean == 0 else 20 * math.log10(255) - 10 * math.log10(mean),
    }


def _drawn(engine: SlotEngine, indices: Any) -> dict[int, NDArray[np.uint8]]:
    """Unlike images together, by their indices."""
    images: dict[int, NDArray[np.uint8]] = {}
    running = dict(enumerate(indices))
    for slot, index in running.items():
        _admit(engine, slot, index, steps=5 + index, guidance=(1.0, 2.0)[index % 2])
    while running:
        for slot in engine.step(sorted(running)):
            images[running.pop(slot)] = engine.take(slot)
    return dict(sorted(images.items()))


def _rounds(engines: dict[str, SlotEngine], slots: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of a tick with guidance in so many slots, one for each round."""
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(rounds):
        for name in ENGINES if turn % 2 else ENGINES[::-1]:
            taken[name].append(_tick_s(engines[name], slots))
    return taken


def _tick_s(engine: SlotEngine, slots: int) -> float:
    chosen = list(range(slots))
    for slot in chosen:
        _admit(engine, slot, slot, steps=250, guidance=2.0)
    engine.step(chosen)
    ticks, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < LEAST_S and ticks < 200:
        engine.step(chosen)
        ticks += 1
    for slot in chosen:
        engine.release(slot)
    return passed / ticks


def _admit(engine: SlotEngine, slot: int, index: int, *, steps: int, guidance: float) -> None:
    card: Any = engine.card
    engine.admit(
        slot,
        condition="apple " * index if "prompt" in card["conditioning"] else index,
        seed=index,
        steps=steps,
        sampler=SAMPLERS[index % len(SAMPLERS)],
        guidance=guidance,
        size=card["sizes"][-1],
    )
