"""Moments by index, read from memory-mapped shards as they are needed."""

import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from model.data.errors import ExampleUnreadable, LatentsUnreadable, NothingReadable
from model.data.images.bad import BadExamples
from model.data.source import Example
from model.latents.index import INDEX_NAME, PLAN_NAME, Index, Shard, read_spec
from model.specs.data import LatentsData

ORIGINAL, MIRRORED = 0, 1  # places in a pair of moments


def open_latents(location: str, spec: LatentsData) -> "LatentSource":
    """Open a folder that `python -m model.latents` wrote.

    Sizes are checked at once and the checksum of each example as it is read, so that nothing has to
    read all shards first; `python -m model.latents check` compares whole files.

    Args:
        location: the folder.
        spec: with `flip` there are twice as many examples: all originals, then all mirrored.

    Raises:
        LatentsUnreadable: the folder is incomplete or a shard is missing or altered.
    """
    folder = Path(location).expanduser()
    if not (folder / INDEX_NAME).is_file():
        raise LatentsUnreadable(folder, _why_no_index(folder))
    index = read_spec(folder / INDEX_NAME, Index)
    for shard in index.shards:
        _check_header(folder / shard.file, shard, index)
    if not index.count:
        raise LatentsUnreadable(folder, "its shards hold no example")
    return LatentSource(folder, index, spec)


def _why_no_index(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    if (folder / PLAN_NAME).is_file():
        return "it is not complete; run the command that began it again"
    if any(folder.glob("*.npy")):
        return "for features of the DiMR authors run python -m model.latents import-features first"
    return f"it has no {INDEX_NAME}"


def _check_header(path: Path, shard: Shard, index: Index) -> None:
    """Refuse a shard that is missing or has another size than the index says."""
    try:
        size = path.stat().st_size
        if size != shard.size_bytes:
            reason = f"it has {size} bytes, the index says {shard.size_bytes}"
            raise LatentsUnreadable(path, reason)
        with safe_open(path, framework="numpy") as opened:
            shape = tuple(opened.get_slice("moments").get_shape())
    except OSError as error:
        raise LatentsUnreadable(path, error.strerror or str(error)) from error
    except SafetensorError as error:
        raise LatentsUnreadable(path, f"altered: {error}") from error
    wanted = (shard.count, 2, *index.plan.shape)
    if shape != wanted:
        raise LatentsUnreadable(path, f"its moments are {shape}, the index says {wanted}")


class LatentSource:
    """Moments (2 C, h, w) in float32 by index; see `open_latents`."""

    def __init__(self, folder: Path, index: Index, spec: LatentsData) -> None:
        """Open no shard yet."""
        self._folder = folder
        self._index = index
        self._views = 2 if spec.flip else 1
        self._bad = BadExamples(spec.on_bad)
        self._starts = np.array([0, *accumulate(shard.count for shard in index.shards)])
        self._opened: dict[int, Any] = {}

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order."""
        return [entry.name for entry in self._index.plan.classes]

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""
        return {entry.name: entry.aliases for entry in self._index.plan.classes if entry.aliases}

    @property
    def bad(self) -> Mapping[str, str]:
        """Why examples were left out so far, by where they are."""
        return self._bad.reasons

    @property
    def shape(self) -> tuple[int, int, int]:
        """(2 C, h, w) of every example."""
        return self._index.plan.shape

    def __len__(self) -> int:
        return self._views * self._index.count

    def __getitem__(self, index: int) -> Example:
        """Example `index`, or the next that is as it was written.

        Raises:
            ExampleUnreadable: it was altered and nothing is to be left out.
            NothingReadable: every example was altered.
        """
        count = len(self)
        if not 0 <= index < count:
            raise IndexError(index)
        for at in range(index, index + count):
            try:
                return self._read(at % count)
            except ExampleUnreadable as error:
                self._bad.meet(error)
        raise NothingReadable(str(self._folder), count)

    def _read(self, index: int) -> Example:
        view, place = divmod(index, self._index.count)
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        at = place - int(self._starts[number])
        path = self._folder / self._index.shards[number].file
        where = f"{path}:{at}{' mirrored' if view == MIRRORED else ''}"
        try:
            opened = self._open(number, path)
            moments = opened.get_slice("moments")[at, view]
            label = int(opened.get_slice("labels")[at : at + 1][0])
            checksum = int(opened.get_slice("checksums")[at, view : view + 1][0])
        except (OSError, SafetensorError) as error:
            raise ExampleUnreadable(where, str(error)) from error
        if checksum_of(moments, label) != checksum:
            raise ExampleUnreadable(where, "it was altered since it was written")
        return Example(moments.astype(np.float32), label)

    def _open(self, number: int, path: Path) -> Any:  # noqa: ANN401 - the package has no type for it
        if number not in self._opened:
            self._opened[number] = safe_open(path, framework="numpy")
        return self._opened[number]

    def __getstate__(self) -> dict[str, object]:
        """Everything but the open shards: another process opens its own."""
        return {**self.__dict__, "_opened": {}}


def checksum_of(moments: NDArray[np.float32] | NDArray[np.float16], label: int) -> int:
    """CRC-32 of one example as it is stored."""
    return zlib.crc32(label.to_bytes(8, "little"), zlib.crc32(moments.tobytes()))
