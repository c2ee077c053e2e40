"""Whether a network made fast still predicts what the bundle's own does: one look at start.

No parity report (`dimr-export verify` is that): it keeps an engine that is broken on this very
device, or driver, from drawing a single image.
"""

from collections.abc import Sequence

from torch import Tensor

MOST_ERROR = 0.02  # over the exact predictions, root mean squares of one call


def close(found: Sequence[Tensor], exact: Sequence[Tensor]) -> bool:
    """Whether every tensor differs by at most `MOST_ERROR`; one that is not finite is not close."""
    return all(
        bool((a.to(b) - b).square().mean() <= MOST_ERROR**2 * b.square().mean())
        for a, b in zip(found, exact, strict=True)
    )
