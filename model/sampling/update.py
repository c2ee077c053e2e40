"""The one update every solver is made of: an affine map of the anchor and three predictions."""

import torch
from torch import Tensor

from model.diffusion.broadcast import per_sample


def advance(  # noqa: PLR0913, PLR0917 - the operands of one equation, in its order
    anchor: Tensor,
    m0: Tensor,
    m1: Tensor,
    m2: Tensor,
    c_x: Tensor,
    c_0: Tensor,
    c_1: Tensor,
    c_2: Tensor,
    update_anchor: Tensor,
) -> tuple[Tensor, Tensor]:
    """Take each sample of a batch through the table row that is its own.

    x_next = c_x anchor + c_0 m_k + c_1 m_{k-1} + c_2 m_{k-2}. No branch on a value and nothing
    crosses samples: each gets, bit for bit, what it would get alone.

    Args:
        anchor: (B, ...) state from which the current step of the solver departs.
        m0: (B, ...) data prediction m_k of this call.
        m1: (B, ...) that of the call before; any finite value where there was none.
        m2: (B, ...) that of two calls before; any finite value where there was none.
        c_x: (B,) weight of the anchor; all weights are rounded to the dtype of `anchor`.
        c_0: (B,) weight of `m0`.
        c_1: (B,) weight of `m1`.
        c_2: (B,) weight of `m2`.
        update_anchor: (B,) bool; where true the step is complete and the anchor moves.

    Returns:
        The state at which the network is called next, and the anchor from then on, (B, ...) each.
    """
    x_next = (
        per_sample(c_x, anchor) * anchor
        + per_sample(c_0, anchor) * m0
        + per_sample(c_1, anchor) * m1
        + per_sample(c_2, anchor) * m2
    )
    return x_next, torch.where(per_sample(update_anchor, anchor).bool(), x_next, anchor)
