"""The DiMR authors' feature files, read without letting a pickle name code.

`{k}.npy` holds a pickled pair (moments float32 (2 C, h, w), label). Of every batch of images first
all originals were saved, then all mirror images. NumPy would run whatever such a file asks for;
here a pickle can only call the inert stand-ins below, which build arrays of numbers.
"""

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.data.errors import ExampleUnreadable, LocationRefused
from model.data.images.ahead import map_ahead
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.latents.writing import Pairs
from model.specs.data import OnBad

AUTHORS_BATCH = 256  # images in a batch of the authors' extraction

_NUMBERS = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})
_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
)


@dataclass(slots=True)
class _Number:
    """Stands in for `numpy.dtype` of a number, or of objects ("O8")."""

    code: str
    order: str = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = {"<": "<", ">": ">", "|": "<", "=": "<"}[state[1]]

    def numpy(self) -> np.dtype[Any]:
        if self.code not in _NUMBERS:
            msg = f"it holds elements of type {self.code!r:.20}"
            raise ValueError(msg)
        return np.dtype(self.order + self.code)


@dataclass(slots=True)
class _Array:
    """Stands in for `numpy.ndarray`: a list of objects, or numbers with a shape."""

    shape: tuple[int, ...] = ()
    number: _Number = field(default_factory=lambda: _Number("O8"))
    content: Any = b""
    order: Literal["C", "F"] = "C"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.number, fortran, self.content = state
        self.order = "F" if fortran else "C"

    def numpy(self) -> NDArray[Any]:
        flat = np.frombuffer(self.content, self.number.numpy())
        return flat.reshape(self.shape, order=self.order)


def _number(code: str, *_: object) -> _Number:
    return _Number(code)


def _array(*_: object) -> _Array:
    return _Array()


def _scalar(number: _Number, content: bytes) -> int | float:
    value: int | float = np.frombuffer(content, number.numpy()).item()
    return value


def _encoded(text: str, encoding: str) -> bytes:
    """Bytes, as pickles of protocol 2 spell them."""
    return text.encode({"latin1": "latin1"}[encoding])


_STAND_INS = {
    ("_codecs", "encode"): _encoded,
    ("numpy", "dtype"): _number,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Inert(pickle.Unpickler):
    """Knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as the base says
        try:
            return _STAND_INS[module, name]
        except KeyError:
            msg = f"it asks for {module}.{name}, which no feature file needs"
            raise pickle.UnpicklingError(msg) from None


def _as_array(found: object) -> _Array:
    if isinstance(found, _Array):
        return found
    msg = f"it holds {found!r:.40} where an array should be"
    raise ValueError(msg)


def read_feature(path: Path) -> tuple[NDArray[np.float32], int]:
    """Moments (2 C, h, w) and label of one file.

    Raises:
        ExampleUnreadable: it is missing, damaged, or holds anything else.
    """
    try:
        stream = io.BytesIO(path.read_bytes())
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(stream)
        if dtype != np.dtype(object) or shape != (2,):
            msg = f"it holds {dtype} of shape {shape}, not a pair"
            raise ValueError(msg)
        moments, label = _as_array(_Inert(stream).load()).content
        found = _as_array(moments).numpy()
        if found.ndim != 3 or found.dtype.kind != "f":
            msg = f"its moments are {found.dtype} of shape {found.shape}"
            raise ValueError(msg)
        whole = label if isinstance(label, int) else int(_as_array(label).numpy().reshape(()))
    except _DAMAGE as error:
        said = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise ExampleUnreadable(str(path), said or type(error).__name__) from error
    return found.astype(np.float32), whole


class Features:
    """A folder of feature files as pairs by image."""

    def __init__(self, folder: Path, classes: Classes, *, batch: int, threads: int) -> None:
        """Count the files and read the first.

        Args:
            folder: holds 0.npy, 1.npy and so on without a gap, two for each image.
            classes: what the labels index.
            batch: images in a batch of the extraction.
            threads: how many files are read at once.

        Raises:
            LocationRefused: the files are not numbered from 0, or their number is odd.
            ExampleUnreadable: the first cannot be read.
        """
        location = str(folder)
        if not folder.is_dir():
            raise LocationRefused(location, "there is no such folder")
        numbers = sorted(int(p.stem) for p in folder.glob("*.npy") if p.stem.isdecimal())
        if not numbers or len(numbers) % 2:
            reason = f"it holds {len(numbers)} feature files; allowed: two an image, 0.npy first"
            raise LocationRefused(location, reason)
        if numbers[-1] != len(numbers) - 1:
            missing = next(n for n, number in enumerate(numbers) if n != number)
            raise LocationRefused(location, f"there is no {missing}.npy but a later one")
        self._folder = folder
        self.classes = classes
        self._batch = batch
        self._threads = threads
        self._images = len(numbers) // 2
        channels, height, width = read_feature(folder / "0.npy")[0].shape
        self.shape = (channels, height, width)

    def __len__(self) -> int:
        """Images."""
        return self._images

    def files(self, image: int) -> tuple[int, int]:
        """Numbers of the files of an image and of its mirror image."""
        start = image - image % self._batch
        size = min(self._batch, self._images - start)
        original = start + image
        return original, original + size

    def pairs(self, span: range, *, on_bad: OnBad) -> Pairs:
        """The pairs of the images that can be used, in order.

        Raises:
            ExampleUnreadable: a file cannot be used and the policy is to stop.
        """
        policy = BadExamples(on_bad)
        bad: list[ExampleUnreadable] = []
        moments: list[NDArray[np.float32]] = []
        labels: list[int] = []
        for found in map_ahead(self._attempt, span, threads=self._threads):
            if isinstance(found, ExampleUnreadable):
                policy.meet(found)
                bad.append(found)
                continue
            moments.append(found[0])
            labels.append(found[1])
        joined = np.stack(moments) if moments else np.zeros((0, 2, *self.shape), np.float32)
        return Pairs(joined, np.asarray(labels, dtype=np.int64), bad)

    def _attempt(self, image: int) -> tuple[NDArray[np.float32], int] | ExampleUnreadable:
        try:
            return self._pair(image)
        except ExampleUnreadable as error:
            return error

    def _pair(self, image: int) -> tuple[NDArray[np.float32], int]:
        """(2, 2 C, h, w) and the label that both files agree on."""
        paths = [self._folder / f"{number}.npy" for number in self.files(image)]
        (original, label), (mirrored, other) = map(read_feature, paths)
        where = str(paths[0])
        if label != other:
            reason = (
                f"its label is {label}, that of its mirror image {paths[1].name} is {other}: "
                f"they were not saved in batches of {self._batch}"
            )
            raise ExampleUnreadable(where, reason)
        for path, found in zip(paths, (original, mirrored), strict=True):
            if found.shape != self.shape:
                raise ExampleUnreadable(str(path), f"its moments are {found.shape}")
        return np.stack([original, mirrored]), self.classes.label(where, label)
