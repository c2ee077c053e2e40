"""Pairs of moments from images: decoded ahead by threads, encoded in batches."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.autoencoder import WEIGHTS_NAME, LatentCodec
from model.data.errors import ExampleUnreadable
from model.data.images.ahead import map_ahead
from model.data.images.bad import BadExamples
from model.data.images.decoding import decode_record
from model.data.images.sources import Records
from model.data.source import Example, to_unit
from model.latents.writing import Pairs
from model.specs.data import OnBad


@dataclass(frozen=True, slots=True)
class Encoder:
    """Computes the pairs of a span of images; batches never reach across spans."""

    records: Records
    codec: LatentCodec
    device: torch.device
    size: int
    batch: int
    threads: int
    on_bad: OnBad

    def __call__(self, span: range) -> Pairs:
        """The pairs of the images that can be used, in order.

        Raises:
            ExampleUnreadable: an image cannot be used and the policy is to stop.
        """
        policy = BadExamples(self.on_bad)
        bad: list[ExampleUnreadable] = []
        moments: list[NDArray[np.float32]] = []
        labels: list[int] = []
        waiting: list[Example] = []
        for found in map_ahead(self._attempt, span, threads=self.threads):
            if isinstance(found, ExampleUnreadable):
                policy.meet(found)
                bad.append(found)
                continue
            waiting.append(found)
            assert found.label is not None  # the records are labelled
            labels.append(found.label)
            if len(waiting) == self.batch:
                moments.append(self._encode(waiting))
                waiting = []
        if waiting:
            moments.append(self._encode(waiting))
        joined = np.concatenate(moments) if moments else self._none()
        return Pairs(joined, np.asarray(labels, dtype=np.int64), bad)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(2 C, h, w) of the moments of one image."""
        _, _, channels, height, width = self._encode([self._blank()]).shape
        return channels, height, width

    def _attempt(self, index: int) -> Example | ExampleUnreadable:
        try:
            return decode_record(self.records[index], self.size)
        except ExampleUnreadable as error:
            return error

    def _encode(self, examples: list[Example]) -> NDArray[np.float32]:
        """(B, 2, 2 C, h, w): of each image and of its mirror image."""
        crops = np.stack([example.value for example in examples]).astype(np.uint8, copy=False)
        images = to_unit(crops).to(self.device)
        views = [self.codec.moments(view) for view in (images, images.flip(-1))]
        return torch.stack(views, dim=1).float().cpu().numpy()

    def _blank(self) -> Example:
        return Example(np.zeros((self.size, self.size, 3), np.uint8), 0)

    def _none(self) -> NDArray[np.float32]:
        return self._encode([self._blank()])[:0]


def weights_sha256(codec: LatentCodec) -> str:
    """sha256 of an autoencoder's weights in float32, whatever file they were loaded from."""
    return hashlib.sha256(codec.files()[WEIGHTS_NAME]).hexdigest()
