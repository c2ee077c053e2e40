"""Specs of a process to what they describe: schedules and pyramids."""

import math
from collections.abc import Sequence

from model.diffusion.pyramid import Pyramid
from model.diffusion.schedule import CosineSchedule, DiscreteSchedule, Schedule
from model.specs.process import CosineScheduleSpec, DiscreteScheduleSpec, ProcessSpec, ScheduleSpec


def build_schedule(spec: ScheduleSpec) -> Schedule:
    """The schedule that a spec describes."""
    match spec:
        case DiscreteScheduleSpec():
            return DiscreteSchedule.stable_diffusion()
        case CosineScheduleSpec():
            return CosineSchedule(shift=spec.shift)


def build_schedules(process: ProcessSpec, sides: Sequence[int]) -> tuple[Schedule, ...]:
    """The schedule of each tensor that is denoised together, low to high.

    A process without scales has one. Otherwise a scale of side d is shifted by
    2 ln(reference / d) (simple diffusion, arXiv:2301.11093) and by its delay; the clamp of the
    cosine is applied before that, so that all scales share one f(t).
    """
    scales = process.scales
    if scales is None:
        return (build_schedule(process.schedule),)
    assert isinstance(process.schedule, CosineScheduleSpec)
    delays = scales.delays or (0.0,) * len(sides)
    return tuple(
        CosineSchedule(shift=process.schedule.shift + 2 * math.log(scales.reference / side) + delay)
        for side, delay in zip(sides, delays, strict=True)
    )


def build_pyramid(process: ProcessSpec, sides: Sequence[int]) -> Pyramid:
    """What reduces the images, and joins the noise, of tensors that are denoised together."""
    shared = 1.0 if process.scales is None else process.scales.shared
    return Pyramid(sides, shared=shared)
