"""The service's engines on XL/2R and on the shipped bundles; plans are built here first.

Parity of XL/2R, whose weights are random, is that of its latents drawn as they are; see `large`.
Float32 is PyTorch's on the same device, without TF32.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from export.compilers.build import build
from export.compilers.compiler import open_compiler, settled
from export.compilers.options import Options, Silence
from export.graph.precision import Precision
from export.runtime.engine import SlotEngine
from export.runtime.site import Site
from model.bundle import load_bundle
from model.specs.manifest import Backend
from tests.benchmarks.gpu.images import Images, drawn, facts, flop_of, opened, pace, parity, tick
from tests.benchmarks.gpu.large import large_folder, shown
from tests.benchmarks.gpu.setting import Setting

MODELS = Path(__file__).parents[3] / "deploy" / "models"
SHIPPED = ("emoji-32", "emoji-layered-64")
REFERENCE = "pytorch"
FUSED = "pytorch-cuda"
STEPS = 20


def measure_large(setting: Setting) -> None:
    """The accelerated one, then the reference, of which a few ticks will do."""
    site = _large_site(setting, large_folder(setting))
    sizes = setting.sizes
    setting.attempt(f"{FUSED}, open", lambda: _large(setting, site, FUSED))
    setting.attempt(
        f"{REFERENCE}, open",
        lambda: _timed(setting, site, REFERENCE, sizes.reference, sizes.steps[:1])[1],
    )


def measure_shipped(setting: Setting) -> None:
    whole = [(model, FUSED) for model in SHIPPED]
    small = [(SHIPPED[0], FUSED), (SHIPPED[0], REFERENCE)]
    for model, name in small if setting.rehearsal else whole:
        setting.attempt(f"{model}, {name}", partial(_shipped, setting, MODELS / model, name))


def measure_plans(setting: Setting, backend: Backend) -> None:
    """Build, open and measure the shipped model, which takes seconds."""
    setting.attempt("compiler", lambda: {"library": open_compiler(backend).name})
    if setting.rehearsal or "compiler" not in setting.figures:
        return  # built on a CPU in minutes, if at all, and not run
    model = SHIPPED[0]
    folder = setting.scratch / f"{model}-{backend}"
    setting.attempt(f"{model}, build", lambda: _built(MODELS / model, folder, backend))
    if f"{model}, build" in setting.figures:
        setting.attempt(f"{model}, {backend}", lambda: _shipped(setting, folder, backend))


def measure_large_plans(setting: Setting, backend: Backend) -> None:
    """Build, open and measure XL/2R."""
    folder = setting.scratch / f"large-{backend}"

    def prepare() -> object:
        open_compiler(backend)  # refused before two gigabytes are written
        return _built(large_folder(setting), folder, backend)

    if setting.rehearsal and backend != "onnx":
        folder = large_folder(setting)  # as it is, which is refused
    else:
        setting.attempt("build", prepare)
    if folder.is_dir() and "build" not in setting.errors:
        site = _large_site(setting, folder)
        setting.attempt(f"{backend}, open", lambda: _large(setting, site, backend))


def _large_site(setting: Setting, folder: Path) -> Site:
    bundle = shown(load_bundle(folder))
    return Site(folder, bundle, setting.device, setting.sizes.capacity)


def _large(setting: Setting, site: Site, name: str) -> dict[str, object]:
    """Facts of the engine, once its other figures are kept."""
    engine, found = _timed(setting, site, name, setting.sizes.buckets, setting.sizes.steps)
    setting.attempt(
        f"{name}, parity",
        lambda: parity(
            drawn(engine, _count(setting, 8), _steps(setting)), _exact(setting, site, "large", 8)
        ),
    )
    return found


def _timed(
    setting: Setting, site: Site, name: str, buckets: Sequence[int], steps: Sequence[int]
) -> tuple[SlotEngine, dict[str, object]]:
    """The engine and its facts, once its ticks and images are timed."""
    engine = opened(site, name)
    flop = flop_of(site)
    for rows in buckets:
        setting.attempt(f"{name}, tick of {rows} rows", partial(tick, setting, engine, flop, rows))
    for count in steps:
        setting.attempt(f"{name}, {count} steps", partial(pace, setting, engine, count))
    return engine, facts(engine)


def _shipped(setting: Setting, folder: Path, name: str) -> dict[str, object]:
    site = Site(folder, load_bundle(folder), setting.device, setting.sizes.capacity)
    count = setting.sizes.images
    engine = opened(site, name)
    found = drawn(engine, count, _steps(setting))
    key = site.bundle.manifest.id
    reference = replace(site, bundle=load_bundle(folder))
    flop = flop_of(site)
    return {
        "engine": facts(engine),
        "parity": parity(found, _exact(setting, reference, key, count)),
        "ticks": [tick(setting, engine, flop, rows) for rows in setting.sizes.buckets],
        "pace": [pace(setting, engine, steps) for steps in setting.sizes.steps],
    }


def _count(setting: Setting, most: int) -> int:
    return min(most, setting.sizes.images)


def _steps(setting: Setting) -> int:
    return min(STEPS, max(setting.sizes.steps))


def _exact(setting: Setting, site: Site, key: str, most: int) -> Images:
    """Images in float32, kept for the sections to come."""
    kept = setting.scratch / f"{key}-images.npy"
    if not kept.is_file():
        torch.backends.cudnn.allow_tf32 = False
        engine = opened(site, REFERENCE)
        np.save(kept, np.stack(drawn(engine, _count(setting, most), _steps(setting))))
        torch.backends.cudnn.allow_tf32 = True
    return list(np.load(kept))


def _built(source: Path, folder: Path, backend: Backend) -> dict[str, object]:
    """What building an engine of the denoiser said."""
    compiler = open_compiler(backend)
    precision = Precision.FP32 if backend == "onnx" else Precision.FP16
    buckets = (1, 2, 4, 8, 16, 32)
    options = settled(compiler, Options(arch=None, precision=precision, buckets=buckets))
    shutil.copytree(source, folder)
    report = build(folder, compiler, options, Silence(), names=("denoiser",), overwrite=True)
    return report.document()
