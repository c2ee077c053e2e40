"""Shards written one by one, each whole, by any number of processes; interruptions cost one shard.

The content of a shard depends on its number alone, so a run that was killed and continued, or
shared, writes the same bytes as one that was not.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from model.data.errors import ExampleUnreadable, LatentsUnreadable
from model.files import write_whole
from model.latents.index import (
    INDEX_NAME,
    Index,
    LeftOut,
    Plan,
    Shard,
    begin,
    damage,
    read_spec,
    record_path,
    shard_name,
    write_spec,
)
from model.latents.source import checksum_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Moments of n images and of their mirror images.

    Attributes:
        moments: (n, 2, 2 C, h, w).
        labels: (n,) int64.
        bad: what was left out of the span.
    """

    moments: NDArray[np.float32]
    labels: NDArray[np.int64]
    bad: Sequence[ExampleUnreadable] = ()


Make = Callable[[range], Pairs]
"""The pairs of a span of examples."""


def write_share(
    folder: Path, plan: Plan, make: Make, *, share: int, shares: int, done: Callable[[int], None]
) -> Index | None:
    """Write the shards of one share that are not there yet, and the index with the last of all.

    Args:
        folder: made where it is missing.
        plan: what is written; that of every share and every continuation.
        make: computes what a shard holds.
        share: this one of `shares`; it takes every `shares`-th shard.
        shares: how many processes share the work.
        done: is told how many examples more are complete.

    Returns:
        The index, or None while other shares are not complete.

    Raises:
        LatentsDiffer: the folder was begun with another plan.
        LatentsUnreadable: the folder holds other things.
    """
    begin(folder, plan, share=share)
    for number in range(share, plan.shards, shares):
        if not _complete(folder, number):
            _write_shard(folder, plan, number, make(plan.span(number)), share=share)
        done(len(plan.span(number)))
    if not all(record_path(folder, number).is_file() for number in range(plan.shards)):
        return None
    shards = [read_spec(record_path(folder, number), Shard) for number in range(plan.shards)]
    for stale in folder.glob(".moments-*"):  # of a share that was killed and not continued as such
        stale.unlink(missing_ok=True)
    index = Index(plan=plan, shards=tuple(shards))
    write_spec(folder / INDEX_NAME, index, share=share)
    return index


def _complete(folder: Path, number: int) -> bool:
    """Whether a shard is there, byte by byte; a damaged one is not."""
    path = record_path(folder, number)
    if not path.is_file():
        return False
    try:
        wrong = damage(folder, read_spec(path, Shard))
    except LatentsUnreadable as error:
        wrong = str(error)
    if wrong:
        logger.warning("shard written again: %s: %s", folder / shard_name(number), wrong)
    return wrong is None


def _write_shard(folder: Path, plan: Plan, number: int, pairs: Pairs, *, share: int) -> None:
    moments = np.ascontiguousarray(pairs.moments, plan.dtype)  # as safetensors needs it
    checksums = [
        [checksum_of(view, int(label)) for view in pair]
        for pair, label in zip(moments, pairs.labels, strict=True)
    ]
    content = save(
        {
            "moments": moments,
            "labels": pairs.labels,
            "checksums": np.asarray(checksums, dtype=np.uint32).reshape(-1, 2),
        }
    )
    write_whole(folder / shard_name(number), content, owner=share)
    shard = Shard(
        file=shard_name(number),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        count=len(pairs.labels),
        bad=tuple(LeftOut(where=error.where, reason=error.reason) for error in pairs.bad),
    )
    write_spec(record_path(folder, number), shard, share=share)
