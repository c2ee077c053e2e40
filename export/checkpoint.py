"""Foreign checkpoints as mappings: read without ever running code that a file may carry."""

import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
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


class CheckpointRefused(ValueError):
    """A file is no checkpoint that can be read safely; the message says why."""


def read_checkpoint(path: Path) -> Mapping[str, object]:
    """Read what a checkpoint holds, on the CPU; tensors are mapped into memory where possible.

    Args:
        path: a file of PyTorch, safetensors or NumPy, told apart by its suffix.

    Raises:
        CheckpointRefused: it is damaged, holds more than weights, or is of another kind.
        OSError: it cannot be read at all.
    """
    path.open("rb").close()  # whatever goes wrong after this is the file's content
    match path.suffix.lower():
        case ".pth" | ".pt" | ".bin" | ".ckpt":
            return _from_pytorch(path)
        case ".safetensors":
            return _from_safetensors(path)
        case ".npz":
            return _from_numpy(path)
        case _:
            msg = f"{path}: allowed: a file whose name ends in {', '.join(SUFFIXES)}"
            raise CheckpointRefused(msg)


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
        msg = f"{path} is damaged, or no checkpoint of PyTorch"
        raise CheckpointRefused(msg) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        msg = f"{path} holds a {type(content).__name__}; allowed: a dictionary of tensors"
        raise CheckpointRefused(msg)
    return content


def _from_safetensors(path: Path) -> Mapping[str, object]:
    try:
        return load_file(path)
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _from_numpy(path: Path) -> Mapping[str, object]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointRefused:
    said = " ".join(str(error).split()) or type(error).__name__
    return CheckpointRefused(f"{path} is damaged or not whole: {said:.120}")
