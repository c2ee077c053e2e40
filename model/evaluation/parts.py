"""Finished images on disk, a file for each run of consecutive ones, until all are there.

Any number of processes may add to one folder at once, and any of them may be killed at any moment:
a file appears complete or not at all, and what two processes both made is the same.
"""

import fcntl
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.evaluation.plan import SamplePlan
from model.files import publish, write_whole

PLAN_NAME = "plan.json"
_PART = re.compile(r"(\d+)-(\d+)\.npy")  # first image, and the one after the last


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count` equal parts of the work; 0 <= index < count."""

    index: int
    count: int

    def of(self, total: int) -> range:
        """The consecutive images of this part."""
        return range(total * self.index // self.count, total * (self.index + 1) // self.count)


@dataclass(frozen=True, slots=True)
class Parts:
    """The images of a plan that are finished."""

    folder: Path
    plan: SamplePlan

    @classmethod
    def open(cls, folder: Path, plan: SamplePlan) -> "Parts":
        """Begin or continue a folder.

        Raises:
            PlanRefused: it was begun with another plan.
        """
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / PLAN_NAME
        if not publish(record, (plan.model_dump_json(indent=1) + "\n").encode()):
            plan.check_same(record)
        return cls(folder, plan)

    def add(self, first: int, images: Sequence[NDArray[np.uint8]]) -> None:
        """Keep consecutive images, the first of which has number `first`."""
        content = io.BytesIO()
        np.save(content, np.stack(images), allow_pickle=False)
        name = f"{first:09d}-{first + len(images):09d}.npy"
        write_whole(self.folder / name, content.getvalue())

    def missing(self, wanted: range) -> list[range]:
        """Runs of consecutive images among `wanted` that are not there yet, in order."""
        runs = []
        start = wanted.start
        for first, stop, _ in self._files():
            if first > start and start < wanted.stop:
                runs.append(range(start, min(first, wanted.stop)))
            start = max(start, stop)
        if start < wanted.stop:
            runs.append(range(start, wanted.stop))
        return runs

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        """All images once and in order; nothing may be missing."""
        done = 0
        for first, stop, path in self._files():
            if stop > done:
                yield np.load(path, allow_pickle=False)[done - first :]
                done = stop

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process is in here; one that dies leaves.

        Raises:
            FileNotFoundError: the folder is gone, as another process has finished.
        """
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.folder.is_dir():
                raise FileNotFoundError(self.folder)
            yield

    def remove(self) -> None:
        """Remove the folder and all in it, at once for whoever looks for it."""
        doomed = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
        self.folder.rename(doomed)
        shutil.rmtree(doomed)

    def _files(self) -> list[tuple[int, int, Path]]:
        """(first, stop, path) of every file, by first image."""
        found = ((_PART.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted((int(m[1]), int(m[2]), path) for m, path in found if m is not None)
