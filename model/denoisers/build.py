"""Network specs to networks, and what training needs to know of any network's inside."""

from typing import Any

import torch
from torch import nn

from model.denoisers.dimr import DiMR
from model.denoisers.dit import DiT
from model.denoisers.layered import LayeredUNet
from model.denoisers.uvit import UViT
from model.layers.trunk import blocks_in
from model.specs.layered import LayeredSpec
from model.specs.networks import DiMRSpec, DiTSpec, NetworkSpec, UViTSpec

ClassDenoiser = DiMR | UViT | DiT
Denoiser = ClassDenoiser | LayeredUNet


def build_denoiser(spec: NetworkSpec) -> Denoiser:
    """The freshly initialised network that a spec describes."""
    match spec:
        case DiMRSpec():
            return DiMR(spec)
        case UViTSpec():
            return UViT(spec)
        case DiTSpec():
            return DiT(spec)
        case LayeredSpec():
            return LayeredUNet(spec)


def blank_inputs(
    spec: NetworkSpec, count: int, device: torch.device | str, *, t: float
) -> tuple[Any, ...]:
    """Arguments that a network of this spec can be called with: zeros, at one time t."""
    times = torch.full((count,), t, device=device)
    if isinstance(spec, LayeredSpec):
        z = [torch.zeros(count, 3, side, side, device=device) for side in spec.scales]
        text = torch.zeros(count, spec.text.tokens, spec.text.width, device=device)
        return z, times, text, torch.ones(text.shape[:2], dtype=torch.bool, device=device)
    x = torch.zeros(count, spec.channels, spec.size, spec.size, device=device)
    return x, times, torch.zeros(count, dtype=torch.int64, device=device)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """All blocks of a network, low to high resolution and in order: units to compile or shard."""
    return [block for blocks in blocks_in(network) for block in blocks]
