"""From bundles on disk to the engines that serve them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from export.runtime.eager import EagerEngine
from model.bundle import Bundle, load_bundle


class DeviceAbsent(ValueError):
    """The device that was asked for is not on this machine."""


class IdsClash(ValueError):
    """Two bundles have one id."""


def build_engines(
    folders: Sequence[Path], *, device: str, capacity: int
) -> Iterator[tuple[str, EagerEngine]]:
    """Load bundles, then make one after another ready to step.

    All are loaded and checked before the first is measured, which takes time.

    Args:
        folders: the bundles.
        device: "cpu" or "cuda"; used or refused, never replaced.
        capacity: slots of each engine, at least 1.

    Yields:
        The id of a model and its engine.

    Raises:
        BundleRefused: one is damaged, of another format version, or cannot decode its latents.
        DeviceAbsent: there is no such device here.
        IdsClash: see there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        msg = "device: got 'cuda', but PyTorch finds no CUDA device here; allowed: cpu"
        raise DeviceAbsent(msg)
    bundles: dict[str, Bundle] = {}
    for folder in folders:
        bundle = load_bundle(folder)
        if bundle.manifest.id in bundles:
            msg = f"{folder} has the id {bundle.manifest.id!r} of another bundle; ids must differ"
            raise IdsClash(msg)
        bundles[bundle.manifest.id] = bundle
    for model, bundle in bundles.items():
        yield model, EagerEngine(bundle, capacity=capacity, device=torch.device(device))
