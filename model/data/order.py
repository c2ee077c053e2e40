"""Randomness that can be recomputed: generators by key, and which examples a step takes.

Everything a step of training draws depends on (seed, stream, step) alone, so a run that was stopped
continues exactly where it was, on any number of processes.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

NOISE_CHUNK = 32  # examples that share a generator: a process draws little that it does not use


def generator_for(*key: int) -> torch.Generator:
    """A generator that depends on the key alone, e.g. (seed, stream, step)."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


def normal(shape: Sequence[int], part: slice, *key: int) -> Tensor:
    """Standard normal noise for the examples `part` of a batch, whatever part of it is drawn.

    Args:
        shape: of one example.
        part: which examples, 0 <= start < stop.
        key: (seed, stream, step).

    Returns:
        (stop - start, *shape) float32.
    """
    first, last = part.start // NOISE_CHUNK, (part.stop - 1) // NOISE_CHUNK
    chunks = [
        torch.randn(NOISE_CHUNK, *shape, generator=generator_for(*key, chunk))
        for chunk in range(first, last + 1)
    ]
    return torch.cat(chunks)[part.start - first * NOISE_CHUNK : part.stop - first * NOISE_CHUNK]


def one_of_each(
    choices: Sequence[Sequence[T]], batch: int, part: slice, *key: int
) -> tuple[T, ...]:
    """One of the choices of each example `part` of a batch; all are as likely.

    Which one depends on the key and on the example's place in the whole batch.

    Args:
        choices: of the examples `part`; none is empty.
        batch: number of examples of the whole batch.
        part: which examples of it.
        key: (seed, stream, step).
    """
    drawn = torch.rand(batch, generator=generator_for(*key), dtype=torch.float64)[part].tolist()
    return tuple(own[int(number * len(own))] for own, number in zip(choices, drawn, strict=True))


def batch_indices(step: int, batch: int, count: int, seed: int) -> Tensor:
    """Which of `count` examples make up a step: (batch,) int64; every epoch is a new order."""
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs, places = positions // count, torch.from_numpy(positions % count)
    parts = [
        _order(int(epoch), count, seed)[places[torch.from_numpy(epochs == epoch)]]
        for epoch in np.unique(epochs)
    ]
    return torch.cat(parts)


@lru_cache(maxsize=2)
def _order(epoch: int, count: int, seed: int) -> Tensor:
    """The permutation of an epoch; kept, as an epoch of ImageNet has over a thousand steps."""
    return torch.randperm(count, generator=generator_for(seed, 0, epoch))
