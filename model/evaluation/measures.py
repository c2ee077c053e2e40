"""Measures of generated pictures against real ones, as functions of tensors.

Nothing here draws a random number; whoever compares sets of unequal size chooses the subsets.
"""

import math
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from model.specs.base import Spec

COPY_RMSE = 0.05  # below this a picture is called a near copy: 6 of 255 levels on average


class Accuracy(Spec):
    """Share of pictures whose class is the first, or among the first five, of a judge."""

    top1: float
    top5: float


class Distances(Spec):
    """A distribution of root mean square differences between pictures in [-1, 1]."""

    median: float
    p5: float
    p95: float
    share_of_copies: float = Field(description=f"share of pictures below {COPY_RMSE}")


def hits(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Whether each label (N,) is among the `count` largest of its logits (N, C): (N,) bool."""
    largest = logits.topk(min(count, logits.shape[1])).indices
    return (largest == labels[:, None]).any(dim=1)


def accuracy(logits: Tensor, labels: Tensor) -> Accuracy:
    """Accuracies of logits (N, C) for labels (N,), N at least 1."""
    top1, top5 = (hits(logits, labels, count).double().mean().item() for count in (1, 5))
    return Accuracy(top1=top1, top5=top5)


def mean_by_class(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of values (N,) over the members of each class: (classes,) float64, NaN where none."""
    sums = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, values.double())
    means: Tensor = sums / torch.bincount(labels, minlength=classes)
    return means


def nearest_rmse(images: Tensor, references: Tensor) -> Tensor:
    """Root mean square difference of each picture to the reference nearest to it.

    Args:
        images: (N, ...) in [-1, 1].
        references: (M, ...) of the same picture size, M at least 1.

    Returns:
        (N,), in the units of the pictures: 0 for a copy, 2 between black and white.
    """
    # Differences are summed as they are: the faster way by products loses those of near copies.
    distances = torch.cdist(
        images.flatten(1), references.flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
    )
    rmse: Tensor = distances.amin(dim=1) / images[0].numel() ** 0.5
    return rmse


def summary(distances: Tensor) -> Distances:
    """Quantiles of distances (N,), N at least 1."""
    p5, median, p95 = distances.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    copies = (distances < COPY_RMSE).double().mean().item()
    return Distances(median=median, p5=p5, p95=p95, share_of_copies=copies)


class Gaussian(NamedTuple):
    """A normal distribution over D features: mean (D,) and covariance (D, D), both float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Gaussian":
        """The one fitted to features (N, D), N at least 2."""
        wide = features.double()
        return cls(wide.mean(dim=0), wide.T.cov(correction=1))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Fréchet distance of two normal distributions.

    |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), the square of the 2-Wasserstein distance
    (Dowson & Landau 1982). Where they are fitted to N features and N is near D the covariances are
    mostly noise and the distance is biased upwards, so only values of equal N compare. On the
    features of Inception's last pooling this is FID (Heusel et al. 2017, arXiv:1706.08500).

    Returns:
        At least 0 but for rounding.
    """
    root = _square_root(first.covariance)
    # C_1 C_2 has the eigenvalues of the symmetric matrix root C_2 root.
    product = torch.linalg.eigvalsh(root @ second.covariance @ root)
    cross = product.clamp(min=0).sqrt().sum()
    offset = (first.mean - second.mean).square().sum()
    return float(offset + first.covariance.trace() + second.covariance.trace() - 2 * cross)


def inception_score(logits: Tensor, *, split: int = 5000) -> float:
    """Inception Score (Salimans et al. 2016, arXiv:1606.03498): exp E_x KL(p(y|x) || p(y)).

    As in ADM's suite it is taken over runs of `split` consecutive samples, the last one shorter,
    and averaged. So samples must not be sorted by class.

    Args:
        logits: (N, classes) of a classifier; the suite leaves its bias out.
        split: samples in a run.

    Returns:
        At least 1 but for rounding, at most the number of classes.
    """
    scores = []
    for part in torch.split(logits.double(), split):
        log_p = part.log_softmax(dim=1)
        log_mean = log_p.logsumexp(dim=0) - math.log(len(part))
        scores.append((log_p.exp() * (log_p - log_mean)).sum(dim=1).mean().exp())
    return float(torch.stack(scores).mean())


def _square_root(symmetric: Tensor) -> Tensor:
    """Root of a symmetric positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(symmetric)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
