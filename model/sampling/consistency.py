"""How well the scales of a layered model agree while it samples.

With shared noise and no delays, z_low = (alpha_low / alpha_high) A z_high holds at the first step.
The updates are linear and steps have the same length at every scale, so it goes on to hold exactly
as long as the data predictions are reductions of each other, A x_high = x_low. Their relative gap,
||A x_high - x_low|| / ||x_low||, tells how far a real network is from that; clipping each scale by
itself adds a little.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.diffusion.pyramid import Pyramid


class ConsistencyMonitor:
    """Collects the gap of every network call, of any number of batches: an `OnScales`."""

    def __init__(self, pyramid: Pyramid) -> None:
        """Watch samples of a pyramid's scales, or of its lowest ones."""
        self._pyramid = pyramid
        self._gaps: dict[int, list[Tensor]] = {}

    def __call__(self, calls: int, states: Sequence[Tensor], predictions: Sequence[Tensor]) -> None:
        """Record what call number `calls` predicted, (B, C, d, d) low to high."""
        self._gaps.setdefault(calls, []).append(self._pyramid.disagreement(predictions).cpu())

    @property
    def means(self) -> Tensor:
        """Mean gap over all images, (calls, scales - 1): each scale below the highest, low to high.

        Where images took different numbers of calls, a later call is a mean over fewer.
        """
        return torch.stack([torch.cat(gaps).mean(0) for _, gaps in sorted(self._gaps.items())])
