"""Images as one .npz, in the form that ADM's evaluation suite reads (arXiv:2105.05233).

`arr_0` holds them, uint8 (N, H, W, 3), `arr_1` their classes, int64 (N,). Files of many gigabytes
are written and read a batch at a time. Nothing is ever unpickled.
"""

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from model.evaluation.errors import FileRefused

IMAGES, LABELS = "arr_0", "arr_1"


def array_names(path: Path) -> list[str]:
    """Names of the arrays in an .npz.

    Raises:
        FileRefused: it is not there, or no .npz.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        msg = f"{path}: {error}; allowed: an .npz file"
        raise FileRefused(msg) from error
    return [name.removesuffix(".npy") for name in members if name.endswith(".npy")]


def read_array(path: Path, name: str) -> NDArray[np.generic]:
    """One array of an .npz, whole.

    Raises:
        FileRefused: it lacks the array, or the array is damaged or of Python objects.
    """
    _require(path, name)
    try:
        with np.load(path, allow_pickle=False) as archive:
            array: NDArray[np.generic] = archive[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        msg = f"{path}: {name} cannot be read: {error}"
        raise FileRefused(msg) from error
    return array


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays as an .npz that is complete from the moment it is there."""
    _write(path, {name: (array.shape, array.dtype, [array]) for name, array in arrays.items()})


def write_images(
    path: Path,
    batches: Iterable[NDArray[np.uint8]],
    *,
    shape: tuple[int, int, int, int],
    labels: NDArray[np.int64],
) -> None:
    """Write images and their classes; the file is complete from the moment it is there.

    Args:
        path: where to.
        batches: images (B, H, W, 3), N of them in all.
        shape: (N, H, W, 3).
        labels: (N,).
    """
    _write(
        path,
        {
            IMAGES: (shape, np.dtype(np.uint8), batches),
            LABELS: (labels.shape, labels.dtype, [labels]),
        },
    )


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """The images of an .npz: `shape` is (N, H, W, 3)."""

    path: Path
    shape: tuple[int, int, int, int]

    @classmethod
    def open(cls, path: Path) -> "ImageArchive":
        """Look at a file without reading its images.

        Raises:
            FileRefused: it has no `arr_0` of uint8 (N, H, W, 3).
        """
        _require(path, IMAGES)
        with zipfile.ZipFile(path) as archive, archive.open(f"{IMAGES}.npy") as member:
            shape, fortran, dtype = _header(path, member)
        if dtype != np.uint8 or fortran or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            msg = f"{path}: {IMAGES}: got {dtype} {shape}; allowed: uint8 (N, H, W, 3) in C order"
            raise FileRefused(msg)
        return cls(path, (shape[0], shape[1], shape[2], 3))

    def __len__(self) -> int:
        return self.shape[0]

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """All images in order, `size` at a time, the last ones fewer.

        Raises:
            FileRefused: the file ends early or is damaged.
        """
        image = self.shape[1:]
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{IMAGES}.npy") as member:
                _header(self.path, member)
                for start in range(0, len(self), size):
                    count = min(size, len(self) - start)
                    content = member.read(count * int(np.prod(image)))
                    yield np.frombuffer(content, np.uint8).reshape(count, *image).copy()
        except (zipfile.BadZipFile, ValueError, EOFError) as error:
            msg = f"{self.path}: {IMAGES} is damaged: {error}"
            raise FileRefused(msg) from error

    def labels(self) -> NDArray[np.int64]:
        """The classes of the images, (N,).

        Raises:
            FileRefused: the file has none, or not one for each image.
        """
        labels = read_array(self.path, LABELS)
        if labels.shape != (len(self),) or labels.dtype.kind not in "iu":
            msg = f"{self.path}: {LABELS}: got {labels.dtype} {labels.shape}; allowed: "
            msg += f"integers ({len(self)},)"
            raise FileRefused(msg)
        return labels.astype(np.int64)


def _require(path: Path, name: str) -> None:
    found = array_names(path)
    if name not in found:
        msg = f"{path}: has no array {name}, only {', '.join(found) or 'none'}"
        raise FileRefused(msg)


def _header(path: Path, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    try:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(member)
    except ValueError as error:
        msg = f"{path}: {IMAGES} is no array: {error}"
        raise FileRefused(msg) from error
    return tuple(shape), fortran, dtype


Streamed = tuple[tuple[int, ...], np.dtype[np.generic], Iterable[NDArray[np.generic]]]
"""(shape, dtype, parts that make up the array along its first axis)."""


def _write(path: Path, arrays: Mapping[str, Streamed]) -> None:
    """Write arrays member by member; a whole one never has to be in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(aside, "w") as archive:
            for name, (shape, dtype, parts) in arrays.items():
                # A ZipInfo of our own has a fixed date, so that equal arrays give equal files.
                info = zipfile.ZipInfo(f"{name}.npy")
                with archive.open(info, "w", force_zip64=True) as member:
                    descr = npy.dtype_to_descr(dtype)
                    header = {"descr": descr, "fortran_order": False, "shape": shape}
                    npy.write_array_header_1_0(member, header)
                    for part in parts:
                        member.write(np.ascontiguousarray(part).tobytes())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
