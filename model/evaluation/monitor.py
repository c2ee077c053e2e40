"""Figures to watch while training: how far samples are from real images, every so often."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.source import to_unit
from model.evaluation.classifier import Classifier, ClassifierSpec, judge, train_classifier
from model.evaluation.display import Show
from model.evaluation.features import FeatureCache, channels_first
from model.evaluation.inception import Inception, load_inception
from model.evaluation.measures import Gaussian, frechet_distance, hits
from model.evaluation.reference import read_reference
from model.files import file_sha256

FID, SMALL_FRECHET, ACCURACY = "fid", "small_feature_frechet", "class_accuracy"
BATCH = 64


class Monitor(Protocol):
    """What training calls every so often with fresh samples."""

    def __call__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, float]:
        """Figures by name for images (N, H, W, 3) of classes (N,), N at least 2.

        Fréchet distances fall with N, so only values of equal N compare.
        """


@dataclass(frozen=True, slots=True)
class InceptionMonitor:
    """FID against a reference; gives {"fid": ...}."""

    inception: Inception
    reference: Gaussian

    def __call__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, float]:
        """FID of images (N, H, W, 3); `labels` are not looked at."""
        parts = [
            self.inception(channels_first(images[start : start + BATCH])).pool
            for start in range(0, len(images), BATCH)
        ]
        return {FID: frechet_distance(Gaussian.of(torch.cat(parts)), self.reference)}


@dataclass(frozen=True, slots=True)
class SmallMonitor:
    """The small data's own figures, which are not FID: distance and accuracy under a judge."""

    classifier: Classifier
    reference: Gaussian

    def __call__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, float]:
        """Small-feature Fréchet distance and class accuracy of images (N, S, S, 3)."""
        found = judge(self.classifier, to_unit(images))
        right = hits(found.logits, torch.from_numpy(labels), 1)
        return {
            SMALL_FRECHET: frechet_distance(Gaussian.of(found.embedding), self.reference),
            ACCURACY: right.double().mean().item(),
        }


def inception_monitor(
    weights: Path,
    reference: Path,
    *,
    device: torch.device,
    show: Show,
    cache: Path | None = None,
) -> InceptionMonitor:
    """Watch FID.

    Args:
        weights: FID Inception weights that the user supplies.
        reference: an .npz of real images, of their features or of ADM's statistics.
        device: where Inception runs.
        show: told of the progress where the reference is images.
        cache: folder where features of the reference are kept.

    Raises:
        EvaluationRefused: a file is not what it should be, or torch-fidelity is not installed.
    """
    inception = load_inception(weights, device)
    kept = FeatureCache(inception, file_sha256(weights), folder=cache, batch=BATCH, show=show)
    return InceptionMonitor(inception, read_reference(reference, kept).pool)


def small_monitor(
    images: Tensor,
    labels: Tensor,
    *,
    classes: int,
    spec: ClassifierSpec,
    on_step: Callable[[int], None],
) -> SmallMonitor:
    """Watch the shipped small data, after training a judge on real images on the spot.

    Args:
        images: (N, 3, S, S) in [-1, 1], real.
        labels: (N,) int64 in [0, classes).
        classes: number of classes.
        spec: how the judge is trained.
        on_step: told of the judge's training steps.
    """
    classifier = train_classifier(images, labels, classes=classes, spec=spec, on_step=on_step)
    return SmallMonitor(classifier, Gaussian.of(judge(classifier, images).embedding))
