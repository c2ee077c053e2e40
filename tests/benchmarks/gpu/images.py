"""What an engine of the service does: ticks, images a second, and images beside float32's."""

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.runtime.choice import choose
from export.runtime.engine import SlotEngine
from export.runtime.site import Site
from model.denoisers.counting import count_network
from tests.benchmarks.gpu.ceilings import matmul
from tests.benchmarks.gpu.clock import series
from tests.benchmarks.gpu.setting import Setting

GUIDANCE = 1.4
SAMPLER = "dpmpp_2m"
SAMPLERS = ("dpmpp_2m", "dpmpp_3s", "ddim", "dpmpp_3m")
PRECISIONS = {"float16": "fp16", "fp16": "fp16", "float32": "fp32", "fp32": "fp32"}
TICKS_S = 1.0  # that ticks of one size take, but for two of them

Images = Sequence[NDArray[np.uint8]]


def opened(site: Site, name: str) -> SlotEngine:
    """The engine of this name, used or refused."""
    return SlotEngine(site.bundle, choose(site, name), capacity=site.capacity)


def facts(engine: SlotEngine) -> dict[str, Any]:
    """Of its card."""
    card: Any = engine.card
    return dict(card["engine"])


def tick(setting: Setting, engine: SlotEngine, flop_a_row: int, rows: int) -> dict[str, Any]:
    """A tick with so many rows, guided if they are even, the host's part in it included."""
    slots, guidance = (range(rows // 2), GUIDANCE) if rows % 2 == 0 else (range(rows), 1.0)
    for slot in slots:
        _admit(engine, slot, slot, steps=250, sampler=SAMPLER, guidance=guidance)
    for _ in range(2):
        engine.step(slots)
    seconds = series(
        lambda: _ended_tick(setting, engine, slots),
        most=setting.sizes.ticks,
        limit_s=TICKS_S,
    )
    for slot in slots:
        engine.release(slot)
    median = statistics.median(seconds)
    precision = PRECISIONS.get(str(facts(engine)["precision"]), "fp32")
    rate = flop_a_row * rows / median
    return {
        "rows": rows,
        "median_s": median,
        "least_s": min(seconds),
        "most_s": max(seconds),
        "flop_per_s": rate,
        "utilisation": setting.share(matmul(precision), rate),
    }


def pace(setting: Setting, engine: SlotEngine, steps: int) -> dict[str, Any]:
    """Guided images a second in full slots, from their admission to their last step."""
    slots = list(range(engine.capacity))
    calls = len(engine.plan(steps=steps, sampler=SAMPLER, guidance=GUIDANCE, size=_size(engine)))
    _wait(setting)
    began = time.perf_counter()
    for slot in slots:
        _admit(engine, slot, slot, steps=steps, sampler=SAMPLER, guidance=GUIDANCE)
    while not engine.step(slots):
        pass
    _wait(setting)
    seconds = time.perf_counter() - began
    for slot in slots:
        engine.release(slot)
    return {
        "steps": steps,
        "network_calls": calls,
        "slots": len(slots),
        "guidance": GUIDANCE,
        "seconds": seconds,
        "images_per_s": len(slots) / seconds,
        "of": "denoising alone",
    }


def drawn(engine: SlotEngine, count: int, steps: int) -> Images:
    """Images of many conditions, seeds and samplers."""
    images = []
    for first in range(0, count, engine.capacity):
        batch = range(first, min(first + engine.capacity, count))
        for slot, index in enumerate(batch):
            sampler = SAMPLERS[index % len(SAMPLERS)]
            _admit(engine, slot, index, steps=steps, sampler=sampler, guidance=1.0 + index % 3)
        done: dict[int, NDArray[np.uint8]] = {}
        while len(done) < len(batch):
            for slot in engine.step([s for s in range(len(batch)) if s not in done]):
                done[slot] = engine.take(slot)
        images += [done[slot] for slot in range(len(batch))]
    return images


def parity(found: Images, exact: Images) -> dict[str, Any]:
    """Decibels of peak signal to noise, a missing one being that of equal images."""
    errors = [
        float(np.square(a.astype(float) - b.astype(float)).mean())
        for a, b in zip(found, exact, strict=True)
    ]
    worst = max(range(len(errors)), key=errors.__getitem__)
    return {
        "images": len(errors),
        "equal": sum(error == 0 for error in errors),
        "psnr_db_worst": _psnr(errors[worst]),
        "psnr_db_of_all": _psnr(statistics.mean(errors)),
        "worst_image": worst,
        "distinct_images": len({image.tobytes() for image in exact}),
    }


def flop_of(site: Site) -> int:
    """Of a row of the bundle's network."""
    return 2 * count_network(site.bundle.manifest.network).macs


def _psnr(mean: float) -> float | None:
    return None if mean == 0 else 20 * math.log10(255) - 10 * math.log10(mean)


def _admit(
    engine: SlotEngine, slot: int, index: int, *, steps: int, sampler: str, guidance: float
) -> None:
    card: Any = engine.card
    prompted = "prompt" in card["conditioning"]
    engine.admit(
        slot,
        condition="apple " * (index % 4) if prompted else 7 * index % len(card["classes"]),
        seed=index,
        steps=steps,
        sampler=sampler,
        guidance=guidance,
        size=_size(engine),
    )


def _ended_tick(setting: Setting, engine: SlotEngine, slots: Sequence[int]) -> None:
    engine.step(slots)
    _wait(setting)


def _size(engine: SlotEngine) -> int:
    card: Any = engine.card
    size: int = card["sizes"][-1]
    return size


def _wait(setting: Setting) -> None:
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
