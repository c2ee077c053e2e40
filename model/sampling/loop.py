"""Whole trajectories, one table for the whole batch: the reference for every engine.

A sample is a tuple of states, low to high resolution, that one network call denoises together
(arXiv:2407.06079); most networks have one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model.diffusion.errors import ParameterRejected
from model.diffusion.guidance import guided
from model.diffusion.prediction import data_from_noise
from model.sampling.tables import SolverTable
from model.sampling.update import advance

PredictNoise = Callable[[Tensor, Tensor], Tensor]
"""(x (B, ...), t (B,)) -> noise prediction (B, ...)."""

PredictScales = Callable[[tuple[Tensor, ...], Tensor], Sequence[Tensor]]
"""(states (B, ...) low to high, t (B,)) -> noise prediction for each of them."""

Threshold = Callable[[Tensor], Tensor]
"""Data prediction (B, ...) -> the one used instead, same shape and dtype."""

OnStep = Callable[[int, Tensor, Tensor], None]
"""(network calls made, state after the last, its data prediction) -> None."""

OnScales = Callable[[int, tuple[Tensor, ...], tuple[Tensor, ...]], None]
"""(network calls made, states after the last, their data predictions) -> None."""


def sample(
    predict_noise: PredictNoise,
    table: SolverTable,
    x: Tensor,
    *,
    unconditional: PredictNoise | None = None,
    threshold: Threshold | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Take a batch of noise through a table: `sample_scales` of a single scale.

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

    def report(calls: int, states: tuple[Tensor, ...], predictions: tuple[Tensor, ...]) -> None:
        if on_step is not None:
            on_step(calls, states[0], predictions[0])

    (end,) = sample_scales(
        _of_one(predict_noise),
        (table,),
        (x,),
        unconditional=None if unconditional is None else _of_one(unconditional),
        threshold=threshold,
        on_step=report,
    )
    return end


@torch.no_grad()
def sample_scales(
    predict_noise: PredictScales,
    tables: Sequence[SolverTable],
    xs: Sequence[Tensor],
    *,
    unconditional: PredictScales | None = None,
    threshold: Threshold | None = None,
    on_step: OnScales | None = None,
) -> tuple[Tensor, ...]:
    """Take noise of several scales through their tables, with one network call a row for all.

    States are float32 (float64 if `xs` are), to which each number of a table is rounded. A row
    whose guidance is exactly 1 calls `predict_noise` alone. Scales meet in the network and nowhere
    else: each is updated with its own table.

    Args:
        predict_noise: the denoiser; with guidance, its conditional prediction.
        tables: what to do, one a scale, low to high; they differ in alpha, sigma and weights alone.
        xs: (B, ...) state of each scale at the first row's time, standard normal noise.
        unconditional: the denoiser without its condition, called where a row is guided.
        threshold: applied to each data prediction of each scale before it is used.
        on_step: called after each row.

    Returns:
        (B, ...) of each scale in the dtype of its state.

    Raises:
        ParameterRejected: tables and states do not match, or the tables guide but there is no
            `unconditional`.
    """
    lead = _common(tables, xs)
    if unconditional is None and bool((lead.guidance != 1).any()):
        raise ParameterRejected(
            None, name="unconditional", allowed="a denoiser, as the table guides"
        )
    scales = [_Trajectory(table, x) for table, x in zip(tables, xs, strict=True)]
    for k, rows in enumerate(lead.rows_per_call.tolist()):
        states = tuple(scale.x for scale in scales)
        t = lead.t[k].to(states[0]).expand(len(states[0]))
        noises = [
            noise.to(x.dtype) for noise, x in zip(predict_noise(states, t), states, strict=True)
        ]
        if unconditional is not None and rows == 2:
            guidance = lead.guidance[k].to(t.device).expand(len(t))
            noises = [
                guided(noise, other.to(noise.dtype), guidance)
                for noise, other in zip(noises, unconditional(states, t), strict=True)
            ]
        predictions = tuple(
            scale.step(k, noise, threshold) for scale, noise in zip(scales, noises, strict=True)
        )
        if on_step is not None:
            on_step(k + 1, tuple(scale.x for scale in scales), predictions)
    return tuple(scale.x for scale in scales)


class _Trajectory:
    """One scale on its way: its state x, the anchor and the data predictions before."""

    def __init__(self, table: SolverTable, x: Tensor) -> None:
        self.x = self._anchor = x.to(torch.promote_types(x.dtype, torch.float32))
        self._m1 = self._m2 = torch.zeros_like(self.x)
        self._signal = (table.alpha, table.sigma)
        self._weights = (table.c_x, table.c_0, table.c_1, table.c_2, table.update_anchor)

    def step(self, k: int, noise: Tensor, threshold: Threshold | None) -> Tensor:
        """Follow row k, given the noise in x; returns the data prediction (B, ...)."""
        m0 = data_from_noise(self.x, noise, *self._of_row(k, self._signal))
        if threshold is not None:
            m0 = threshold(m0)
        self.x, self._anchor = advance(
            self._anchor, m0, self._m1, self._m2, *self._of_row(k, self._weights)
        )
        self._m1, self._m2 = m0, self._m1
        return m0

    def _of_row(self, k: int, columns: Sequence[Tensor]) -> list[Tensor]:
        return [column[k].to(self.x.device).expand(len(self.x)) for column in columns]


def _of_one(predict: PredictNoise) -> PredictScales:
    return lambda states, t: (predict(states[0], t),)


def _common(tables: Sequence[SolverTable], xs: Sequence[Tensor]) -> SolverTable:
    """The first table, whose times and guidance are those of all."""
    if not len(tables) == len(xs) > 0:
        allowed = f"one for each of {len(xs)} states, at least one"
        raise ParameterRejected(len(tables), name="tables", allowed=allowed)
    lead, *others = tables
    for table in others:
        if not (torch.equal(table.t, lead.t) and torch.equal(table.guidance, lead.guidance)):
            allowed = "those of the lowest scale, as one call serves all"
            raise ParameterRejected(table.t, name="tables: times or guidance", allowed=allowed)
    return lead
