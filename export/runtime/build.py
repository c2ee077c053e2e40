"""From bundles on disk to the engines that serve them."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from export.runtime.choice import DeviceAbsent, check_engine, choose_used
from export.runtime.engine import SlotEngine
from export.runtime.refusal import EngineRefused
from export.runtime.site import Site
from model.bundle import Bundle, load_bundle

__all__ = ["DeviceAbsent", "EngineRefused", "IdsClash", "build_engine", "build_engines"]


class IdsClash(ValueError):
    """Two bundles have one id."""


def build_engines(
    folders: Sequence[Path],
    *,
    device: str,
    capacity: int,
    engine: str | None = None,
    cache: Path | None = None,
) -> Iterator[tuple[str, SlotEngine]]:
    """Load bundles, then make one after another ready to step.

    All are loaded and checked before the first is measured, which takes time.

    Args:
        folders: the bundles.
        device: "cpu" or "cuda"; used or refused, never replaced.
        capacity: slots of each engine, at least 1.
        engine: "pytorch", "onnx", "tensorrt", "tensorrt-rtx", "pytorch-cuda" or
            "pytorch-compile", used or refused,
            never replaced; without a name the best that can run.
        cache: where engines keep what they compile at start; created if need be.

    Yields:
        The id of a model and its engine.

    Raises:
        BundleRefused: one is damaged, of another format version, or cannot decode its latents.
        DeviceAbsent: there is no such device here.
        EngineRefused: the engine cannot run a bundle here; says what to run.
        IdsClash: see there.
    """
    check_engine(device, engine)
    bundles: dict[str, tuple[Path, Bundle]] = {}
    for folder in folders:
        bundle = load_bundle(folder)
        if bundle.manifest.id in bundles:
            msg = f"{folder} has the id {bundle.manifest.id!r} of another bundle; ids must differ"
            raise IdsClash(msg)
        bundles[bundle.manifest.id] = (folder, bundle)
    for model, (folder, bundle) in bundles.items():
        site = Site(folder, bundle, torch.device(device), capacity, cache)
        begin = functools.partial(SlotEngine, bundle, capacity=capacity)
        yield model, choose_used(site, engine, begin)


def build_engine(
    folder: Path,
    *,
    device: str,
    capacity: int,
    engine: str | None = None,
    cache: Path | None = None,
) -> SlotEngine:
    """Load one bundle and make it ready to step; see `build_engines`."""
    ((_, built),) = build_engines(
        [folder], device=device, capacity=capacity, engine=engine, cache=cache
    )
    return built
