"""A denoiser's arguments, as a compiled part takes them: one tensor after another."""

from collections.abc import Sequence

from torch import Tensor


def flattened(
    x: Tensor | Sequence[Tensor], t: Tensor, condition: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The states, the times and what else there is, in order."""
    states = (x,) if isinstance(x, Tensor) else tuple(x)
    return (*states, t, *condition)


def depth_of(x: Tensor | Sequence[Tensor]) -> int:
    """How many scales a denoiser is asked for."""
    return 1 if isinstance(x, Tensor) else len(x)
