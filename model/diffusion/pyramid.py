"""An image at several scales, and noise for all of them from one draw (arXiv:2407.06079).

One operator resamples both. D keeps white noise white, as its rows are orthonormal: D D^T = I.
Images go through A = D / sqrt(s) along each axis, s the ratio of sides, which keeps constants. With
one base schedule and log-SNR shifts of 2 ln(reference / side), the noisy images of two scales obey
z_low = (alpha_low / alpha_high) A z_high: the lower one is what a careful eye sees in the higher.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from model.diffusion.errors import ParameterRejected


def sinc_operator(n_high: int, n_low: int) -> Tensor:
    """The band-limited resampling D of noise along one axis; a square e becomes D e D^T.

    Periodic, with half-pixel centres: low sample m lies at s m + (s - 1) / 2 between the high ones,
    s = n_high / n_low. Frequencies that both grids know are kept; the pair at the new Nyquist
    frequency of an even n_low becomes one, divided by sqrt(2). Its gain on a constant is sqrt(s).

    Args:
        n_high: samples that go in.
        n_low: samples that come out, 1 to `n_high`.

    Returns:
        (n_low, n_high) float32 with D D^T = I.

    Raises:
        ParameterRejected: `n_low` is out of range.
    """
    if not 1 <= n_low <= n_high:
        raise ParameterRejected(n_low, name="n_low", allowed=f"1 to n_high = {n_high}")
    if n_low == n_high:
        return torch.eye(n_high)
    centre = (n_high / n_low - 1) / 2  # of the first low sample, in high ones
    low = torch.arange(n_low, dtype=torch.float64)
    high = torch.arange(n_high, dtype=torch.float64) - centre
    waves = 2 * math.pi * torch.arange(1, (n_low + 1) // 2, dtype=torch.float64)
    at_low, at_high = torch.outer(low / n_low, waves), torch.outer(high / n_high, waves)
    # cos(at_low - at_high) summed over the waves, by the addition theorem
    kept = 1 + 2 * (at_low.cos() @ at_high.cos().mT + at_low.sin() @ at_high.sin().mT)
    if n_low % 2 == 0:
        at_high = math.pi * n_low / n_high * high
        kept = kept + math.sqrt(2) * torch.outer(torch.cos(math.pi * low), at_high.cos())
    return (kept / math.sqrt(n_high * n_low)).float()


def image_operator(n_high: int, n_low: int) -> Tensor:
    """The operator A = D / sqrt(s) of images along one axis, s = n_high / n_low.

    Returns:
        (n_low, n_high) float32; every row sums to 1, so that a constant stays what it is.

    Raises:
        ParameterRejected: `n_low` is out of range.
    """
    return sinc_operator(n_high, n_low) / math.sqrt(n_high / n_low)


def resample(x: Tensor, operator: Tensor) -> Tensor:
    """Apply an operator (n_low, n_high) to both axes of x (..., n_high, n_high), in float32.

    Under automatic mixed precision too: rounding D to 8 bits would let shared noise leak.
    """
    with torch.autocast(x.device.type, enabled=False):
        return operator @ x.float() @ operator.mT


class Pyramid:
    """Images and noise at the scales of a layered process, low to high; a batch at a time.

    Attributes:
        sides: in pixels, low to high.
    """

    def __init__(self, sides: Sequence[int], *, shared: float = 1.0) -> None:
        """Compute the operators.

        Args:
            sides: in pixels, low to high.
            shared: correlation of lower scales' noise with the resampled noise of the highest.
        """
        self.sides = tuple(sides)
        self._noise = [sinc_operator(sides[-1], side) for side in sides[:-1]]
        self._image: dict[int, list[Tensor]] = {}  # by the side of what is reduced
        self._shared = shared

    def images(self, x: Tensor) -> tuple[Tensor, ...]:
        """Reduce images (B, C, S, S) to every scale, unclipped; S is at least the highest side."""
        side = x.shape[-1]
        if side not in self._image:
            lower = (low for low in self.sides if low != side)
            self._image[side] = [image_operator(side, low) for low in lower]
        reduced = [resample(x, operator.to(x.device)) for operator in self._image[side]]
        return (*reduced, x) if side == self.sides[-1] else tuple(reduced)

    def noise(self, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Join independent standard normal draws (B, C, d, d), low to high, to noise of all scales.

        A lower scale gets c D e + sqrt(1 - c^2) e', of the highest draw e and its own e', with c
        the shared correlation: standard normal, whatever c is.
        """
        *lower, top = draws
        own = math.sqrt(1 - self._shared**2)
        joined = (
            self._shared * resample(top, operator.to(top.device)) + own * draw
            for operator, draw in zip(self._noise, lower, strict=True)
        )
        return (*joined, top)

    def disagreement(self, predictions: Sequence[Tensor]) -> Tensor:
        """How far data predictions are from being one image: ||A x_top - x_d|| / ||x_d||.

        Args:
            predictions: (B, C, d, d) of the lowest scales, up to any one.

        Returns:
            (B, R - 1) for R predictions: of each scale below the highest that is given.
        """
        *lower, top = predictions
        gaps = [top.new_zeros(len(top), 0)]
        for x in lower:
            gap = resample(top, image_operator(top.shape[-1], x.shape[-1]).to(top.device)) - x
            gaps.append((gap.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1))[:, None])
        return torch.cat(gaps, 1)
