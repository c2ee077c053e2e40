"""Real pictures and drawn ones, each with the class that it is to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.bundle import Bundle
from model.data.source import to_unit
from model.evaluation.display import Show
from model.evaluation.report import EvaluationSpec
from model.sampling.conditions import Wanted
from model.sampling.images import ImageRequest, generate

BATCH = 8  # samples computed together


class Asked(NamedTuple):
    """What samples are drawn of: the class or prompt, and the class that is to be seen in them."""

    condition: Wanted
    label: int


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Images (N, 3, S, S) in [-1, 1] with their classes (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, chosen: Tensor) -> "Pictures":
        """Those for which `chosen` (N,) is true."""
        return Pictures(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class RealPictures:
    """The images a bundle was trained on; every class has one in each style."""

    pictures: Pictures
    classes: tuple[str, ...]
    styles: tuple[str, ...]
    """(N,)"""
    spellings: tuple[tuple[str, ...], ...]
    """Other names of each class."""

    @property
    def style_names(self) -> tuple[str, ...]:
        """Every style once."""
        return tuple(dict.fromkeys(self.styles))

    def split(self, style: str) -> tuple[Pictures, Pictures]:
        """Images of a style, and those of all others."""
        chosen = torch.tensor([s == style for s in self.styles])
        return self.pictures.where(chosen), self.pictures.where(~chosen)


def draw(
    bundle: Bundle, asked: Sequence[Asked], count: int, spec: EvaluationSpec, part: str, show: Show
) -> Pictures:
    """Draw samples, those of one thing after another.

    Args:
        bundle: the model.
        asked: what to draw, at least one thing.
        count: samples of each, from the seeds that follow on the evaluation's.
        spec: how, and in which size.
        part: what to call this work.
        show: told how much of it is done.
    """
    requests = [
        ImageRequest(
            condition=each.condition,
            seed=spec.seed + k,
            steps=spec.sampling.steps,
            sampler=spec.sampling.sampler,
            guidance=spec.sampling.guidance,
            size=spec.size,
        )
        for each in asked
        for k in range(count)
    ]
    images = []
    for image in generate(bundle, requests, batch=BATCH):
        images.append(image)
        show(part, len(images), len(requests))
    labels = torch.tensor([each.label for each in asked]).repeat_interleave(count)
    return Pictures(to_unit(np.stack(images)), labels)
