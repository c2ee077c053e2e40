"""From a bundle on disk to the engine that serves it."""

from pathlib import Path

import torch

from export.runtime.eager import EagerEngine
from model.bundle import load_bundle


class DeviceAbsent(ValueError):
    """The device that was asked for is not on this machine."""


def build_engine(folder: Path, *, device: str, capacity: int) -> EagerEngine:
    """Load a bundle and make it ready to step.

    Args:
        folder: the bundle.
        device: "cpu" or "cuda"; used or refused, never replaced.
        capacity: slots, at least 1.

    Raises:
        BundleRefused: it is damaged, of another format version, or cannot decode its latents.
        DeviceAbsent: there is no such device here.
    """
    if device == "cuda" and not torch.cuda.is_available():
        msg = "device: got 'cuda', but PyTorch finds no CUDA device here; allowed: cpu"
        raise DeviceAbsent(msg)
    return EagerEngine(load_bundle(folder), capacity=capacity, device=torch.device(device))
