"""Samplers by name: what a request may ask for, turned into solver tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from model.diffusion.build import build_schedules
from model.diffusion.guidance import ConstantGuidance
from model.sampling.tables import SolverTable, solver_table
from model.specs.process import ProcessSpec, SamplingDefaults

# name -> (method, order); DPM-Solver++ (arXiv:2211.01095) but for DDIM, which is its first order
SAMPLERS: Mapping[str, tuple[Literal["multistep", "singlestep"], int]] = {
    "dpmpp_2m": ("multistep", 2),
    "dpmpp_3m": ("multistep", 3),
    "dpmpp_2s": ("singlestep", 2),
    "dpmpp_3s": ("singlestep", 3),
    "ddim": ("multistep", 1),
}


class SamplerUnknown(ValueError):
    """No sampler has this name."""


def tables_for(
    process: ProcessSpec,
    sides: Sequence[int],
    defaults: SamplingDefaults,
    *,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
) -> tuple[SolverTable, ...]:
    """The tables of one request over the time range that the network was trained on.

    Schedules of several scales differ by constants in log-SNR, so a grid that is uniform for one is
    so for all: the tables have one t, guidance and anchor, and every step has the same length in
    half log-SNR at each scale. Only signal, noise and weights differ.

    Args:
        process: schedule and time range of the model.
        sides: of the tensors that are denoised together, low to high.
        defaults: the model's grid, how its trajectories end, and whatever is not said below.
        sampler: a name in `SAMPLERS`.
        steps: network calls, at least 1.
        guidance: scale s of u + s (c - u); exactly 1 needs no unconditional rows.

    Returns:
        One table for each of `sides`.

    Raises:
        ValueError: the sampler does not exist or cannot take this many steps.
    """
    sampler = defaults.sampler if sampler is None else sampler
    if sampler not in SAMPLERS:
        msg = f"sampler: got {sampler!r}; allowed: {', '.join(SAMPLERS)}"
        raise SamplerUnknown(msg)
    method, order = SAMPLERS[sampler]
    tables = [
        solver_table(
            schedule,
            defaults.steps if steps is None else steps,
            order=order,
            method=method,
            grid=defaults.grid,
            guidance=ConstantGuidance(defaults.guidance if guidance is None else guidance),
            t_start=process.t_max,
            t_end=process.t_min,
            final=defaults.final,
        )
        for schedule in build_schedules(process, sides)
    ]
    # inverting each schedule rounds differently in the last of float64's digits
    return tuple(dataclasses.replace(table, t=tables[0].t) for table in tables)
