"""Foreign checkpoints as mappings: read without ever running code that a file may carry."""

import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".npz")

# What the readers raise for damaged bytes.
_DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


_CHUNK_BYTES = 16 << 20


class CheckpointRefused(ValueError):
    """A file is no checkpoint that can be read safely; the message says why."""


def read_checkpoint(path: Path, on_bytes: Callable[[int], None]) -> Mapping[str, object]:
    """Read what a checkpoint holds, on the CPU; tensors are mapped into memory where possible.

    Args:
        path: a file of PyTorch, safetensors or NumPy, told apart by its suffix.
        on_bytes: told of bytes of an archive that were compared with their checksums, before
            anything of it is used. Other formats have no checksums.

    Raises:
        CheckpointRefused: it is damaged, holds more than weights, or is of another kind.
        OSError: it cannot be read at all.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        msg = f"{path}: allowed: a file whose name ends in {', '.join(SUFFIXES)}"
        raise CheckpointRefused(msg)
    path.open("rb").close()  # whatever goes wrong after this is the file's content
    if suffix == ".safetensors":
        return _from_safetensors(path)
    if zipfile.is_zipfile(path):
        _check_archive(path, on_bytes)
    return _from_numpy(path) if suffix == ".npz" else _from_pytorch(path)


def _check_archive(path: Path, on_bytes: Callable[[int], None]) -> None:
    """Compare every entry with its checksum, which PyTorch does not where it maps a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as content:
                    while content.read(_CHUNK_BYTES):
                        pass
                on_bytes(entry.compress_size)
    except _DAMAGE as error:
        msg = (
            f"{path} is damaged or not whole: an entry of it does not have the content that its "
            f"checksum was made of; copy or download it again"
        )
        raise CheckpointRefused(msg) from error


def _from_pytorch(path: Path) -> Mapping[str, object]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of unusual pickle protocols
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except UnpicklingError as error:
        if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
            msg = (
                f"{path} holds more than weights: {named[1]}. Nothing of it was run; where it was "
                f"written, save the state dict alone: torch.save(model.state_dict(), FILE)"
            )
            raise CheckpointRefused(msg) from error
        raise _damaged(path, "a checkpoint of PyTorch") from error
    except _DAMAGE as error:
        raise _damaged(path, "a checkpoint of PyTorch") from error
    if not isinstance(content, Mapping):
        msg = f"{path} holds a {type(content).__name__}; allowed: a dictionary of tensors"
        raise CheckpointRefused(msg)
    return content


def _from_safetensors(path: Path) -> Mapping[str, object]:
    try:
        return load_file(path)
    except _DAMAGE as error:
        raise _damaged(path, "safetensors") from error


def _from_numpy(path: Path) -> Mapping[str, object]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _DAMAGE as error:
        raise _damaged(path, "plain arrays of NumPy") from error


def _damaged(path: Path, kind: str) -> CheckpointRefused:
    return CheckpointRefused(f"{path} is damaged or not whole: it cannot be read as {kind}")
