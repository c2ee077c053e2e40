"""Examples that are read ahead in the background.

By index, a step's examples follow from (seed, step). Of a stream each reader has a share of its
own, and where it is in it is part of a checkpoint.
"""

import logging
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from model.autoencoder import PixelCodec, draw_latent
from model.data.errors import DataError
from model.data.order import batch_indices, generator_for, normal, one_of_each
from model.data.source import Example, Source, Stream, to_unit
from model.specs.data import CaptionedImagesData, ImagesData, LatentsData
from model.specs.process import LatentsSpec, PixelsSpec
from model.specs.recipe import Recipe
from model.training.distributed import World

logger = logging.getLogger(__name__)

_FLIPS, _LATENTS, CAPTIONS = 3, 4, 6  # streams of randomness

Annotations = Tensor | tuple[str, ...]
"""What a step's examples show: labels (b,) int64, or a caption of each."""

Examples = Generator[tuple[Tensor, Annotations], None, None]
"""This process's part of every step; closing it ends the processes that read ahead."""

Position = list[tuple[int, int]]
"""Where each share of a process is in its stream: (epoch, examples of it that were used)."""


@dataclass(frozen=True, slots=True)
class ByIndex:
    """Data that are read by index, each step by one of several background processes."""

    source: Source
    recipe: Recipe
    world: World
    workers: int
    position: None = None
    _told: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.source)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why examples were left out so far, by where they are."""
        return {**self.source.bad, **self._told}

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order; none where examples have captions."""
        return self.source.classes

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""
        return self.source.aliases

    def examples(self, start: int, position: object) -> Examples:
        """Steps from `start` to the end of the recipe."""
        loader = DataLoader(
            _Steps(self.source, self.recipe, self.world),
            batch_size=None,
            sampler=range(start, self.recipe.training.steps),
            num_workers=self.workers,
            worker_init_fn=_settle,
        )
        for item in loader:
            yield _unpacked(item, self._told)


class _Steps(Dataset["_Read"]):
    """Item `step` is this process's part of that step."""

    def __init__(self, source: Source, recipe: Recipe, world: World) -> None:
        self._source, self._recipe, self._world = source, recipe, world

    def __getitem__(self, step: int) -> "_Read":
        spec = self._recipe.training
        part = self._world.part(spec.batch)
        chosen = batch_indices(step, spec.batch, len(self._source), spec.seed)[part]
        try:
            examples = [self._source[int(i)] for i in chosen]
        except DataError as error:
            return _Read(_Failure(str(error)), {})
        return _Read(_batch(examples, self._recipe, step, part), _news(self._source.bad))


@dataclass(slots=True)
class InSequence:
    """A stream; background process w reads share rank * workers + w, and they take turns."""

    stream: Stream
    recipe: Recipe
    world: World
    workers: int
    position: Position = field(default_factory=list)
    _told: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> None:
        """Nobody knows before the end."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why examples were left out so far, by where they are."""
        return {**self.stream.bad, **self._told}

    @property
    def classes(self) -> Sequence[str]:
        """Names in index order; none where examples have captions."""
        return self.stream.classes

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """Other names of a class, by its name."""
        return self.stream.aliases

    def examples(self, start: int, position: object) -> Examples:
        """Steps from `start` on, without end."""
        turns = max(self.workers, 1)
        before = position if isinstance(position, list) else [(0, 0)] * turns
        if len(before) != turns:
            msg = f"--workers: got {self.workers}; allowed: {len(before)}, as the stream began with"
            raise ValueError(msg)
        self.position = [(int(epoch), int(used)) for epoch, used in before]
        loader = DataLoader(
            _Shares(self.stream, self.recipe, self.world, start, list(self.position)),
            batch_size=None,
            num_workers=self.workers,
            worker_init_fn=_settle,
        )
        for item, share, epoch, used in loader:
            batch = _unpacked(item, self._told)
            self.position = [
                (epoch, used) if turn == share else where
                for turn, where in enumerate(self.position)
            ]
            yield batch


class _Shares(IterableDataset["tuple[_Read, int, int, int]"]):
    """Batches of one share after the other's, each with the share's position behind it."""

    def __init__(
        self, stream: Stream, recipe: Recipe, world: World, start: int, position: Position
    ) -> None:
        self._stream, self._recipe, self._world = stream, recipe, world
        self._start, self._position = start, position

    def __iter__(self) -> Iterator["tuple[_Read, int, int, int]"]:
        worker = get_worker_info()
        turns = len(self._position)
        turn = 0 if worker is None else worker.id
        step = self._start + turn  # the loader asks worker 0 first, whatever the step
        share = step % turns
        part = self._world.part(self._recipe.training.batch)
        examples = self._endless(share, *self._position[share])
        while True:
            try:
                chosen = [next(examples) for _ in range(part.stop - part.start)]
            except DataError as error:
                yield _Read(_Failure(str(error)), {}), share, 0, 0
                return
            batch = _batch([example for example, _, _ in chosen], self._recipe, step, part)
            _, epoch, used = chosen[-1]
            yield _Read(batch, _news(self._stream.bad)), share, epoch, used
            step += turns

    def _endless(self, share: int, epoch: int, used: int) -> Iterator[tuple[Example, int, int]]:
        shares = self._world.size * len(self._position)
        mine = self._world.rank * len(self._position) + share
        while True:
            empty = used == 0
            reader = self._stream.read(epoch=epoch, share=mine, shares=shares, start=used)
            for example in reader:
                used += 1
                yield example, epoch, used
            if empty and used == 0:
                raise ShareEmpty(mine, shares)
            epoch, used = epoch + 1, 0


class ExamplesUnreadable(DataError):
    """What a reading process met; the message is its own."""


class ShareEmpty(DataError):
    """A stream has fewer parts than there are readers."""

    def __init__(self, share: int, shares: int) -> None:
        super().__init__(
            f"--data: part {share} of {shares} of the stream has no example; "
            f"allowed: fewer processes or --workers"
        )


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error on its way out of a reading process, where exceptions lose their type."""

    message: str


@dataclass(frozen=True, slots=True)
class _Read:
    """A step's part on its way out of a reading process, and what that process left out so far."""

    batch: tuple[Tensor, Annotations] | _Failure
    left_out: Mapping[str, str]


def _news(bad: Mapping[str, str]) -> Mapping[str, str]:
    """What the training process does not know of: everything in a process that reads for it."""
    return {} if get_worker_info() is None else bad


def _unpacked(read: _Read, told: dict[str, str]) -> tuple[Tensor, Annotations]:
    """A step's part; what was left out is added to `told` and logged the first time."""
    if isinstance(read.batch, _Failure):
        raise ExamplesUnreadable(read.batch.message)
    for where in read.left_out.keys() - told.keys():
        told[where] = read.left_out[where]
        logger.warning("example left out: %s: %s", where, told[where])
    return read.batch


def _settle(_: int) -> None:
    """Leave signals, which reach whole groups of processes, and the log to the training process."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    logging.disable(logging.WARNING)


def _batch(
    examples: Sequence[Example], recipe: Recipe, step: int, part: slice
) -> tuple[Tensor, Annotations]:
    """Flip and encode the examples of a step: x0 (b, C, S, S) and what they show."""
    spec = recipe.training
    match recipe.data, recipe.process.codec:
        case ImagesData(flip=flip), PixelsSpec() as codec:
            x0 = _pixels(examples, codec, _flipped(recipe, step, part) & flip)
            return x0, _labels(examples)
        case CaptionedImagesData(flip=flip), PixelsSpec() as codec:
            x0 = _pixels(examples, codec, _flipped(recipe, step, part) & flip)
            captions = [example.captions for example in examples]
            return x0, one_of_each(captions, spec.batch, part, spec.seed, CAPTIONS, step)
        case LatentsData(), LatentsSpec() as codec:
            moments = torch.from_numpy(np.stack([e.value for e in examples])).float()
            shape = (codec.channels, *moments.shape[2:])
            noise = normal(shape, part, spec.seed, _LATENTS, step)
            return draw_latent(moments, noise, codec.scale), _labels(examples)
        case _:
            msg = f"{recipe.data.kind} data are not read example by example"
            raise AssertionError(msg)


def _labels(examples: Sequence[Example]) -> Tensor:
    """(b,) int64."""
    return torch.tensor([example.label for example in examples])


def _flipped(recipe: Recipe, step: int, part: slice) -> Tensor:
    """Which examples of a step are mirrored where the data allow it: (b,) bool."""
    spec = recipe.training
    generator = generator_for(spec.seed, _FLIPS, step)
    return torch.rand(spec.batch, generator=generator)[part] < 0.5


def _pixels(examples: Sequence[Example], codec: PixelsSpec, flipped: Tensor) -> Tensor:
    """Encode crops, some of them mirrored: (b, C, S, S)."""
    images = to_unit(np.stack([e.value for e in examples]).astype(np.uint8, copy=False))
    images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
    return PixelCodec(codec).encode(images)
