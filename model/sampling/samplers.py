"""Samplers by name: what a request may ask for, turned into a solver table."""

from collections.abc import Mapping
from typing import Literal

from model.diffusion.build import build_schedule
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


def table_for(
    process: ProcessSpec, defaults: SamplingDefaults, *, sampler: str, steps: int, guidance: float
) -> SolverTable:
    """The table of one request over the time range that the network was trained on.

    Args:
        process: schedule and time range of the model.
        defaults: the model's grid, and how its trajectories end.
        sampler: a name in `SAMPLERS`.
        steps: network calls, at least 1.
        guidance: scale s of u + s (c - u); exactly 1 needs no unconditional rows.

    Raises:
        ValueError: the sampler does not exist or cannot take this many steps.
    """
    if sampler not in SAMPLERS:
        msg = f"sampler: got {sampler!r}; allowed: {', '.join(SAMPLERS)}"
        raise SamplerUnknown(msg)
    method, order = SAMPLERS[sampler]
    return solver_table(
        build_schedule(process.schedule),
        steps,
        order=order,
        method=method,
        grid=defaults.grid,
        guidance=ConstantGuidance(guidance),
        t_start=process.t_max,
        t_end=process.t_min,
        final=defaults.final,
    )
