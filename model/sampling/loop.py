"""Whole trajectories, one table for the whole batch: the reference for every engine."""

from collections.abc import Callable

import torch
from torch import Tensor

from model.diffusion.errors import ParameterRejected
from model.diffusion.guidance import guided
from model.diffusion.prediction import data_from_noise
from model.sampling.tables import SolverTable
from model.sampling.update import advance

PredictNoise = Callable[[Tensor, Tensor], Tensor]
"""(x (B, ...), t (B,)) -> noise prediction (B, ...)."""

Threshold = Callable[[Tensor], Tensor]
"""Data prediction (B, ...) -> the one used instead, same shape and dtype."""

OnStep = Callable[[int, Tensor, Tensor], None]
"""(network calls made, state after the last, its data prediction) -> None."""


@torch.no_grad()
def sample(
    predict_noise: PredictNoise,
    table: SolverTable,
    x: Tensor,
    *,
    unconditional: PredictNoise | None = None,
    threshold: Threshold | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Take a batch of noise through a table.

    The state is float32 (float64 if `x` is), to which each number of the table is rounded. A row
    whose guidance is exactly 1 calls `predict_noise` alone.

    Args:
        predict_noise: the denoiser; with guidance, its conditional prediction.
        table: what to do.
        x: (B, ...) state at the first row's time, standard normal noise.
        unconditional: the denoiser without its condition, called where a row is guided.
        threshold: applied to each data prediction before it is used.
        on_step: called after each row.

    Returns:
        (B, ...) in the dtype of the state.

    Raises:
        ParameterRejected: the table guides but there is no `unconditional`.
    """
    if unconditional is None and bool((table.guidance != 1).any()):
        raise ParameterRejected(
            None, name="unconditional", allowed="a denoiser, as the table guides"
        )
    anchor = x = x.to(torch.promote_types(x.dtype, torch.float32))
    m1 = m2 = torch.zeros_like(x)

    columns = (
        table.t.to(x.dtype),
        table.alpha,
        table.sigma,
        table.guidance,
        table.c_x,
        table.c_0,
        table.c_1,
        table.c_2,
        table.update_anchor,
    )
    for k, rows in enumerate(table.rows_per_call.tolist()):
        t, alpha, sigma, guidance, c_x, c_0, c_1, c_2, update_anchor = (
            column[k].to(x.device).expand(len(x)) for column in columns
        )
        noise = predict_noise(x, t).to(x.dtype)
        if unconditional is not None and rows == 2:
            noise = guided(noise, unconditional(x, t).to(x.dtype), guidance)
        m0 = data_from_noise(x, noise, alpha, sigma)
        if threshold is not None:
            m0 = threshold(m0)
        x, anchor = advance(anchor, m0, m1, m2, c_x, c_0, c_1, c_2, update_anchor)
        m1, m2 = m0, m1
        if on_step is not None:
            on_step(k + 1, x, m0)
    return x
