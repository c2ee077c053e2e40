"""Inception's features of whole files of pictures, computed once and kept as .npz."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.evaluation.archive import ImageArchive, array_names, read_array, write_arrays
from model.evaluation.display import Show
from model.evaluation.errors import FileRefused
from model.evaluation.inception import CLASSES, POOL, SPATIAL, Extractor, Features

_WIDTHS = {"pool": POOL, "spatial": SPATIAL, "logits": CLASSES}
_WEIGHTS = "weights_sha256"


def channels_first(images: NDArray[np.uint8]) -> Tensor:
    """uint8 (B, H, W, 3) to uint8 (B, 3, H, W), as an `Extractor` takes them."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def extract(
    images: Iterable[NDArray[np.uint8]], count: int, extractor: Extractor, *, part: str, show: Show
) -> Features:
    """Features of pictures.

    Args:
        images: batches (B, H, W, 3), `count` pictures in all, at least 1.
        count: N.
        extractor: the network.
        part: what to call this work.
        show: told how much of it is done.
    """
    found = [torch.empty(count, width) for width in _WIDTHS.values()]
    done = 0
    show(part, done, count)
    for batch in images:
        for whole, rows in zip(found, extractor(channels_first(batch)), strict=True):
            whole[done : done + len(batch)] = rows
        done += len(batch)
        show(part, done, count)
    return Features(*found)


def is_features(path: Path) -> bool:
    """Whether an .npz is one that `write_features` wrote."""
    return _WEIGHTS in array_names(path)


def write_features(path: Path, features: Features, weights_sha256: str) -> None:
    """Keep features with the hash of the weights that made them."""
    arrays: dict[str, NDArray[np.generic]] = {
        name: value.numpy() for name, value in features._asdict().items()
    }
    write_arrays(path, {**arrays, _WEIGHTS: np.array(weights_sha256)})


def read_features(path: Path, weights_sha256: str) -> Features:
    """Features that were kept.

    Raises:
        FileRefused: they are malformed, or of other weights.
    """
    made_by = str(read_array(path, _WEIGHTS))
    if made_by != weights_sha256:
        msg = (
            f"{path}: features of Inception weights {made_by[:12]}..., not of "
            f"{weights_sha256[:12]}...; allowed: both of one file of weights"
        )
        raise FileRefused(msg)
    found = [read_array(path, name) for name in _WIDTHS]
    for array, (name, width) in zip(found, _WIDTHS.items(), strict=True):
        if array.shape != (len(found[0]), width) or array.dtype != np.float32:
            msg = f"{path}: {name}: got {array.dtype} {array.shape}; allowed: float32 (N, {width})"
            raise FileRefused(msg)
    return Features(*(torch.from_numpy(array) for array in found))


class FeatureCache:
    """Features of files of pictures, by the hashes of the pictures and of the weights."""

    def __init__(
        self,
        extractor: Extractor,
        weights_sha256: str,
        *,
        folder: Path | None,
        batch: int,
        show: Show,
    ) -> None:
        """Begin or go on.

        Args:
            extractor: the network.
            weights_sha256: hash of its weights.
            folder: where features are kept; None to keep none.
            batch: pictures to give to the network at once.
            show: told of the progress.
        """
        self._extractor = extractor
        self._weights = weights_sha256
        self._folder = folder
        self._batch = batch
        self._show = show

    def features(self, path: Path, images_sha256: str, *, part: str) -> Features:
        """Features in a file, or of the pictures in it.

        Args:
            path: an .npz of features, or of pictures.
            images_sha256: hash of the file.
            part: what to call the work in the progress.

        Raises:
            FileRefused: the file is neither, or its features are of other weights.
        """
        if is_features(path):
            return read_features(path, self._weights)
        kept = self._kept(images_sha256)
        if kept is not None and kept.exists():
            return read_features(kept, self._weights)
        archive = ImageArchive.open(path)
        batches = archive.batches(self._batch)
        found = extract(batches, len(archive), self._extractor, part=part, show=self._show)
        if kept is not None:
            write_features(kept, found, self._weights)
        return found

    def _kept(self, images_sha256: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{images_sha256[:16]}-{self._weights[:16]}.npz"
