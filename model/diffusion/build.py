"""Schedule specs to schedules."""

from model.diffusion.schedule import CosineSchedule, DiscreteSchedule, Schedule
from model.specs.process import CosineScheduleSpec, DiscreteScheduleSpec, ScheduleSpec


def build_schedule(spec: ScheduleSpec) -> Schedule:
    """The schedule that a spec describes."""
    match spec:
        case DiscreteScheduleSpec():
            return DiscreteSchedule.stable_diffusion()
        case CosineScheduleSpec():
            return CosineSchedule(shift=spec.shift)
