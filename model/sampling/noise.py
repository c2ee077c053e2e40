"""The noise sampling starts from: one generator per sample."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.diffusion.errors import ParameterRejected
from model.diffusion.pyramid import Pyramid

MAX_SEED = 2**63 - 1


def initial_noise(
    seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu"
) -> Tensor:
    """Draw standard normal noise, sample k from a generator seeded with `seeds[k]` alone.

    Always drawn on the CPU, so that a seed means the same image on every device. The CPU's
    Mersenne Twister is seeded with 32 bits: seeds that agree modulo 2^32 draw the same noise.

    Args:
        seeds: B seeds, 0 <= seed <= `MAX_SEED`; B may be 0.
        shape: shape of one sample.
        device: where the result is put.

    Returns:
        (B, *shape), float32.

    Raises:
        ParameterRejected: a seed is out of range.
    """
    noise = torch.empty(len(seeds), *shape, dtype=torch.float32)
    for sample, seed in zip(noise, seeds, strict=True):
        sample.normal_(generator=_generator(seed))
    return noise.to(device)


def initial_scales(
    seeds: Sequence[int], channels: int, pyramid: Pyramid, device: torch.device | str = "cpu"
) -> tuple[Tensor, ...]:
    """Draw joint noise of several scales, sample k from a generator seeded with `seeds[k]` alone.

    The highest scale is drawn first, and of one scale alone this is `initial_noise`; what the lower
    ones have of their own follows, low to high. So the lower scales of a seed are always those of
    its full pyramid, whether or not the higher ones are used.

    Args:
        seeds: B seeds, 0 <= seed <= `MAX_SEED`; B may be 0.
        channels: C of every scale.
        pyramid: all scales of the process.
        device: where the result is put.

    Returns:
        (B, C, d, d) for each side d of the pyramid, low to high, float32.

    Raises:
        ParameterRejected: a seed is out of range.
    """
    *lower, top = pyramid.sides
    found = [torch.empty(len(seeds), channels, side, side) for side in pyramid.sides]
    for k, seed in enumerate(seeds):
        generator = _generator(seed)
        draws = [
            torch.randn(1, channels, side, side, generator=generator) for side in (top, *lower)
        ]
        # one by one: products of matrices may round differently for different row counts
        for noise, own in zip(found, pyramid.noise((*draws[1:], draws[0])), strict=True):
            noise[k] = own[0]
    return tuple(noise.to(device) for noise in found)


def _generator(seed: int) -> torch.Generator:
    if not 0 <= seed <= MAX_SEED:
        raise ParameterRejected(seed, name="seed", allowed=f"0 to {MAX_SEED}")
    return torch.Generator().manual_seed(seed)
