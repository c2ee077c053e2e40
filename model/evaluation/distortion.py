"""The distortion study: which samples a classifier does not take for what they should show.

DiMR (arXiv:2406.09416), section 4: an image whose intended class gets less than a threshold of the
probability is of low fidelity, and so probably distorted.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from model.data.source import to_unit
from model.evaluation.archive import ImageArchive
from model.evaluation.classifier import Classifier
from model.evaluation.display import Show
from model.evaluation.errors import FileRefused
from model.evaluation.measures import mean_by_class
from model.specs.base import Spec

LogitsOf = Callable[[NDArray[np.uint8]], Tensor]
"""Images uint8 (B, H, W, 3) to logits (B, classes) on the CPU."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LowFidelity(Spec):
    """One image below the threshold."""

    index: int
    label: int
    probability: float


class ClassFidelity(Spec):
    """All images of one class."""

    name: str
    images: int
    low_fidelity: int
    rate: float
    mean_probability: float


class DistortionReport(Spec):
    """The JSON report of `dimr-evaluate distortion`."""

    format_version: Literal[1] = 1
    date: str = Field(description="UTC, ISO 8601")
    command: str
    samples: str
    samples_sha256: str
    classifier: str
    classifier_sha256: str
    threshold: float
    images: int
    low_fidelity: int
    rate: float = Field(description="share of the images below the threshold")
    mean_probability: float
    classes: tuple[ClassFidelity, ...] = Field(description="worst first; those that have images")
    worst_images: tuple[LowFidelity, ...] = Field(
        description="all below the threshold, worst first"
    )


def small_judge(classifier: Classifier) -> LogitsOf:
    """The project's own small classifier."""

    @torch.no_grad()
    def logits(images: NDArray[np.uint8]) -> Tensor:
        found: Tensor = classifier(to_unit(images)).logits
        return found

    return logits


def scripted_judge(
    path: Path,
    *,
    side: int | None,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
) -> LogitsOf:
    """A classifier that the user supplies as TorchScript: (B, 3, S, S) to logits (B, classes).

    Args:
        path: the file.
        side: side in pixels that images are resized to; None to leave them as they are.
        mean: of each colour channel, subtracted from images in [0, 1].
        std: of each colour channel, which the difference is divided by.
        device: where it runs.

    Raises:
        FileRefused: the file is no TorchScript module.
    """
    try:
        with warnings.catch_warnings():
            # PyTorch asks authors to export instead; classifiers still come as TorchScript.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    except (RuntimeError, ValueError) as error:
        msg = f"{path}: is no TorchScript module; allowed: a file that torch.jit.save wrote"
        raise FileRefused(msg) from error
    shift, scale = (torch.tensor(v, device=device).view(3, 1, 1) for v in (mean, std))

    @torch.no_grad()
    def logits(images: NDArray[np.uint8]) -> Tensor:
        x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        if side is not None and x.shape[2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        try:
            found = module((x - shift) / scale)
        except RuntimeError as error:
            msg = f"{path}: does not take images {tuple(x.shape)}: {str(error).splitlines()[-1]}"
            raise FileRefused(msg) from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images):
            msg = f"{path}: does not return logits; allowed: (B, classes) for (B, 3, S, S)"
            raise FileRefused(msg)
        return found.float().cpu()

    return logits


def intended_probabilities(
    archive: ImageArchive,
    labels: NDArray[np.int64],
    logits_of: LogitsOf,
    *,
    batch: int,
    show: Show,
) -> Tensor:
    """The probability that a classifier gives to what each image should show: (N,).

    Raises:
        FileRefused: a label is none of the classifier's classes.
    """
    wanted = torch.from_numpy(labels)
    found: list[Tensor] = []
    done = 0
    for images in archive.batches(batch):
        logits = logits_of(images)
        part = wanted[done : done + len(images)]
        if not bool(((part >= 0) & (part < logits.shape[1])).all()):
            msg = (
                f"{archive.path}: labels from {int(part.min())} to {int(part.max())}; allowed: "
                f"0 to {logits.shape[1] - 1}, the classes of the classifier"
            )
            raise FileRefused(msg)
        found.append(logits.softmax(dim=1).gather(1, part[:, None]).squeeze(1))
        done += len(images)
        show("images judged", done, len(archive))
    return torch.cat(found)


def low_fidelity(
    probabilities: Tensor, labels: NDArray[np.int64], threshold: float
) -> tuple[LowFidelity, ...]:
    """The images whose class is less probable than the threshold, the least probable first."""
    order = probabilities.argsort(stable=True)
    chosen = order[probabilities[order] < threshold].tolist()
    return tuple(
        LowFidelity(index=i, label=int(labels[i]), probability=float(probabilities[i]))
        for i in chosen
    )


def by_class(
    probabilities: Tensor, labels: NDArray[np.int64], threshold: float, names: Sequence[str]
) -> tuple[ClassFidelity, ...]:
    """Rates of the classes that have images, worst first; those without a name get their number."""
    index = torch.from_numpy(labels)
    counts = torch.bincount(index)
    rates = mean_by_class(probabilities < threshold, index, len(counts))
    means = mean_by_class(probabilities, index, len(counts))
    found = [
        ClassFidelity(
            name=names[label] if label < len(names) else str(label),
            images=count,
            low_fidelity=round(float(rates[label]) * count),
            rate=float(rates[label]),
            mean_probability=float(means[label]),
        )
        for label, count in enumerate(counts.tolist())
        if count
    ]
    return tuple(sorted(found, key=lambda entry: (-entry.rate, entry.mean_probability)))


def chosen_images(archive: ImageArchive, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Some images, in the order asked for, without holding the others."""
    wanted = set(indices)
    found: dict[int, NDArray[np.uint8]] = {}
    start = 0
    for images in archive.batches(64):
        found |= {start + k: images[k] for k in range(len(images)) if start + k in wanted}
        start += len(images)
    return [found[index] for index in indices]
