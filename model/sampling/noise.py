"""The noise sampling starts from: one generator per sample."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.diffusion.errors import ParameterRejected

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
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise ParameterRejected(seed, name="seed", allowed=f"0 to {MAX_SEED}")
    noise = torch.empty(len(seeds), *shape, dtype=torch.float32)
    for sample, seed in zip(noise, seeds, strict=True):
        sample.normal_(generator=torch.Generator().manual_seed(seed))
    return noise.to(device)
