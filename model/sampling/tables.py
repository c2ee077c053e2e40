"""Whole sampling procedures as tables: every solver is one affine map per network call.

Row k says where the network is called for the k-th time and what follows, m_k being the data
prediction made there:

    x_next = c_x anchor + c_0 m_k + c_1 m_{k-1} + c_2 m_{k-2};  anchor := x_next if update_anchor

The network is called next at x_next. Nothing here depends on the network or on the data.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.diffusion.errors import ParameterRejected
from model.diffusion.guidance import ConstantGuidance, Guidance, snapped
from model.diffusion.schedule import Schedule
from model.sampling.solvers import (
    CLEAN,
    Coefficients,
    Node,
    multistep,
    multistep_orders,
    singlestep,
    singlestep_orders,
)

Method = Literal["multistep", "singlestep"]
Grid = Literal["time", "logsnr"]
Final = Literal["t_end", "clean"]

MAX_STEPS = 1000
NO_GUIDANCE = ConstantGuidance(1.0)


@dataclass(frozen=True, slots=True, eq=False)
class SolverTable:
    """n network calls; every field is (n,), float64 where not said otherwise.

    t falls strictly, the last row moves the anchor, and a coefficient of a prediction that a row
    does not use, or that does not exist yet, is exactly 0.

    Attributes:
        t: diffusion time at which the network is called.
        alpha: signal scale at t.
        sigma: noise scale at t.
        guidance: g in u + g (c - u) for this call; exactly 1 needs no unconditional prediction.
        c_x: weight of the anchor.
        c_0: weight of this call's data prediction.
        c_1: weight of the one before.
        c_2: weight of the one before that.
        update_anchor: bool, whether the anchor moves to the new state.
    """

    t: Tensor
    alpha: Tensor
    sigma: Tensor
    guidance: Tensor
    c_x: Tensor
    c_0: Tensor
    c_1: Tensor
    c_2: Tensor
    update_anchor: Tensor

    def __len__(self) -> int:
        return len(self.t)

    @property
    def rows_per_call(self) -> Tensor:
        """Network rows each call costs a sample, (n,) int64: 1 without guidance, 2 with it."""
        return 1 + (self.guidance != 1).to(torch.int64)


def solver_table(  # noqa: PLR0913 - one keyword for each independent choice
    schedule: Schedule,
    steps: int,
    *,
    order: int,
    method: Method,
    grid: Grid,
    guidance: Guidance = NO_GUIDANCE,
    t_start: float | None = None,
    t_end: float | None = None,
    final: Final = "t_end",
    lower_order_final: bool = True,
    snap: float = 0.0,
) -> SolverTable:
    """Compile a sampling procedure.

    Args:
        schedule: noise schedule of the model.
        steps: network calls, 1 to `MAX_STEPS`.
        order: 1 (DDIM with either method), 2 or 3.
        method: "multistep", DPM-Solver++(2M) and (3M) as in diffusers (midpoint for order 2, no
            final Euler step), or "singlestep", (2S) and (3S) with grid points as inner times and
            the authors' list of orders; see `model.sampling.solvers`.
        grid: "time", points uniform in t, or "logsnr", uniform in half log-SNR.
        guidance: guidance as a function of t.
        t_start: time of the first call; the schedule's by default.
        t_end: where the path ends, 0 <= t_end < t_start <= 1; the schedule's by default.
        final: "t_end" takes `steps` intervals and stops at t_end, as the DiMR authors do; "clean"
            takes one interval less, makes the last call at t_end (at t_start if it is the only
            one) and ends with its data prediction.
        lower_order_final: let the last two multistep updates of fewer than 15 steps fall to
            order 2 and 1 (of no effect on single steps, whose orders always end low).
        snap: guidance weaker than this fraction of its full strength becomes exactly 1; 0 leaves
            guidance as it is, 0.01 saves unconditional predictions that would not be seen.

    Returns:
        A table of exactly `steps` rows.

    Raises:
        ParameterRejected: a parameter is of the wrong type or out of range.
    """
    if type(steps) is not int or not 1 <= steps <= MAX_STEPS:
        raise ParameterRejected(steps, name="steps", allowed=f"an integer from 1 to {MAX_STEPS}")
    if type(order) is not int or order not in (1, 2, 3):
        raise ParameterRejected(order, name="order", allowed="1, 2 or 3")
    ending = _ending(final)
    intervals = steps - len(ending)

    t = _times(schedule, intervals, grid, t_start=t_start, t_end=t_end)
    alpha, sigma, lam = schedule.alpha(t), schedule.sigma(t), schedule.half_log_snr(t)
    nodes = [Node(*point) for point in torch.stack([alpha, sigma, lam], dim=1).tolist()]
    match method:
        case "multistep":
            orders = multistep_orders(steps, order, lower_order_final=lower_order_final)
            rows = multistep(nodes, orders[:intervals])
        case "singlestep":
            rows = singlestep(nodes, singlestep_orders(intervals, order))
        case _:
            raise ParameterRejected(method, name="method", allowed="'multistep' or 'singlestep'")
    *weights, update_anchor = zip(*rows, *ending, strict=True)
    c_x, c_0, c_1, c_2 = torch.tensor(weights, dtype=torch.float64)

    t = t[:steps]
    return SolverTable(
        t=t,
        alpha=alpha[:steps],
        sigma=sigma[:steps],
        guidance=snapped(guidance(t), scale=guidance.scale, threshold=snap),
        c_x=c_x,
        c_0=c_0,
        c_1=c_1,
        c_2=c_2,
        update_anchor=torch.tensor(update_anchor),
    )


def _ending(final: Final) -> list[Coefficients]:
    match final:
        case "t_end":
            return []
        case "clean":
            return [CLEAN]
        case _:
            raise ParameterRejected(final, name="final", allowed="'t_end' or 'clean'")


def _times(
    schedule: Schedule, intervals: int, grid: Grid, *, t_start: float | None, t_end: float | None
) -> Tensor:
    """`intervals` + 1 float64 times from t_start down to t_end, half log-SNR strictly rising."""
    t_start = schedule.t_start if t_start is None else t_start
    t_end = schedule.t_end if t_end is None else t_end
    if not 0 < t_start <= 1:
        raise ParameterRejected(t_start, name="t_start", allowed="above 0 and at most 1")
    if not 0 <= t_end < t_start:
        raise ParameterRejected(
            t_end, name="t_end", allowed=f"at least 0 and below t_start = {t_start}"
        )
    match grid:
        case "time":
            t = torch.linspace(t_start, t_end, intervals + 1, dtype=torch.float64)
        case "logsnr":
            first, last = schedule.half_log_snr([t_start, t_end]).tolist()
            lam = torch.linspace(first, last, intervals + 1, dtype=torch.float64)
            t = schedule.inverse_half_log_snr(lam).clamp(t_end, t_start)
        case _:
            raise ParameterRejected(grid, name="grid", allowed="'time' or 'logsnr'")
    lam = schedule.half_log_snr(t)
    if not bool(lam.isfinite().all() and (lam.diff() > 0).all()):
        allowed = f"where noise is left and far enough below t_start = {t_start}"
        raise ParameterRejected(t_end, name="t_end", allowed=allowed)
    return t
