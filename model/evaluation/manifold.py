"""Precision and recall of generated pictures by k-nearest-neighbour manifolds.

Kynkäänniemi et al. 2019, arXiv:1904.06991. A set's manifold is the union of balls about each of its
features, each of which reaches to the k-th nearest other one. Precision is the share of samples in
the manifold of real images, recall the share of real images in the manifold of samples. ADM's suite
takes k = 3 and computes distances in half precision where they fit; here they are float32.
"""

from typing import NamedTuple

import torch
from torch import Tensor

NEIGHBOURS = 3
CHUNK = 4096  # rows and columns of a block of distances: 64 MiB in float32


class Coverage(NamedTuple):
    """Shares of samples and of real images that the other set's manifold covers."""

    precision: float
    recall: float


def coverage(samples: Tensor, real: Tensor, *, chunk: int = CHUNK) -> Coverage:
    """Precision and recall of features, N and M above `NEIGHBOURS`.

    Args:
        samples: (N, D) float32 features of samples.
        real: (M, D) features of real images.
        chunk: how many of each are compared at once; of no effect on the result.
    """
    return Coverage(
        precision=_covered(samples, real, radii(real, chunk=chunk), chunk),
        recall=_covered(real, samples, radii(samples, chunk=chunk), chunk),
    )


def radii(features: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """Squared distance of each feature (N, D) to its third nearest other one: (N,)."""
    found = []
    for rows in torch.split(features, chunk):
        nearest = torch.empty(len(rows), 0, device=features.device)
        for columns in torch.split(features, chunk):
            candidates = torch.cat((nearest, _squared_distances(rows, columns)), dim=1)
            kept = min(NEIGHBOURS + 1, candidates.shape[1])  # each is its own nearest
            nearest = candidates.topk(kept, dim=1, largest=False).values
        found.append(nearest[:, -1])
    return torch.cat(found)


def _covered(features: Tensor, others: Tensor, reach: Tensor, chunk: int) -> float:
    """Share of features (N, D) that lie in a ball about one of `others` (M, D), `reach` (M,)."""
    balls = list(zip(torch.split(others, chunk), torch.split(reach, chunk), strict=True))
    found = []
    for rows in torch.split(features, chunk):
        inside = torch.zeros(len(rows), dtype=torch.bool, device=features.device)
        for centres, reaches in balls:
            inside |= (_squared_distances(rows, centres) <= reaches).any(dim=1)
        found.append(inside)
    return torch.cat(found).double().mean().item()


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Between rows (N, D) and (M, D): (N, M)."""
    norms = first.square().sum(dim=1)[:, None] + second.square().sum(dim=1)
    return torch.addmm(norms, first, second.T, alpha=-2).clamp(min=0)
