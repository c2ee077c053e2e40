"""The multi-scale denoising losses: every branch or scale is held to its own target.

The target of a branch of DiMR is the sum over each K x K cell divided by K, so that reduced noise
keeps unit variance (the paper's text says average pooling; the authors' code does this). Branches
count 1 / K^2: 1/4 and 1 for two of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def reduce_to(x: Tensor, side: int) -> Tensor:
    """Bring x (B, C, S, S) to (B, C, side, side) by cell sums over K, K = S / side."""
    ratio = x.shape[-1] // side
    return F.avg_pool2d(x, ratio) * ratio


def branch_losses(predictions: Sequence[Tensor], target: Tensor) -> Tensor:
    """Weighted squared error of each branch, in float32.

    Args:
        predictions: one (B, C, side, side) a branch, low to high resolution.
        target: (B, C, S, S) at full resolution.

    Returns:
        (R, B) mean square / K^2 of each branch and sample.
    """
    terms = []
    for prediction in predictions:
        side = prediction.shape[-1]
        error = (prediction.float() - reduce_to(target, side)).square().mean((1, 2, 3))
        terms.append(error * (side / target.shape[-1]) ** 2)
    return torch.stack(terms)


def scale_losses(predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Squared error of each scale of a layered network against its own target, in float32.

    Args:
        predictions: one (B, C, d, d) a scale, low to high.
        targets: like them.

    Returns:
        (R, B) mean square over channels and pixels of each scale and sample.
    """
    return torch.stack(
        [
            (prediction.float() - target).square().mean((1, 2, 3))
            for prediction, target in zip(predictions, targets, strict=True)
        ]
    )
