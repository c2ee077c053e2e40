"""Network specs to networks, and what training needs to know of any network's inside."""

from torch import nn

from model.denoisers.dimr import DiMR
from model.denoisers.dit import DiT
from model.denoisers.uvit import UViT
from model.layers.trunk import blocks_in
from model.specs.networks import DiMRSpec, DiTSpec, NetworkSpec, UViTSpec

Denoiser = DiMR | UViT | DiT


def build_denoiser(spec: NetworkSpec) -> Denoiser:
    """The freshly initialised network that a spec describes."""
    match spec:
        case DiMRSpec():
            return DiMR(spec)
        case UViTSpec():
            return UViT(spec)
        case DiTSpec():
            return DiT(spec)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """All blocks of a network, low to high resolution and in order: units to compile or shard."""
    return [block for blocks in blocks_in(network) for block in blocks]
