"""Training, to be read from top to bottom.

A step draws everything it needs from (seed, step) alone and no clock, thread or order of reading
has a say in it, so a run that was stopped and resumed continues as if it had not been: on the CPU
bit for bit, with as many processes and threads and the same options. On a GPU it does so as far as
the kernels in use add in a fixed order. A step is checked before it is taken: a loss or gradient
that is not finite never reaches the weights.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.data.errors import DataError
from model.data.order import generator_for
from model.specs.training import ExecutionSpec
from model.training.distributed import World
from model.training.divergence import Diverged, Recent, diagnose, is_finite
from model.training.objective import Batch, Objective, Shown
from model.training.optimiser import follow, rate_at, set_rate
from model.training.state import TrainingState

Examples = Iterator[tuple[Tensor, Shown]]
"""This process's examples, step by step: x0 (b, C, S, S) and what they show."""

REPORT_EVERY = 50  # steps
REMEMBERED = 20  # steps that a diagnosis looks back
_DROPPED = 9  # stream of randomness


class ReadElsewhere(DataError):
    """Another process could not read its examples, which it reports itself."""

    def __init__(self) -> None:
        super().__init__("stopped, as another process could not read its examples")


@dataclass(frozen=True, slots=True)
class Report:
    """Means since the last report."""

    step: int
    loss: float
    branches: tuple[float, ...]  # what each adds to the loss, low to high
    gradient_norm: float
    rate: float
    images_per_s: float

    def numbers(self) -> dict[str, float]:
        """By name, for a log."""
        named = {"loss": self.loss, "gradient_norm": self.gradient_norm, "rate": self.rate}
        named |= {f"loss_branch_{i}": value for i, value in enumerate(self.branches)}
        return named | {"images_per_s": self.images_per_s}


@dataclass(frozen=True, slots=True)
class Hooks:
    """What happens beside the steps; each is called by every process at the same step."""

    report: Callable[[Report], None]
    save: Callable[[], None]
    position: Callable[[], object]  # in the data, after the examples that were read last
    after_step: Callable[[int], None]  # sample grids and measurements, when their step has come
    stopping: Callable[[], bool]
    save_every_s: float
    save_every: int | None = None  # steps


def train(
    objective: Objective,
    execution: ExecutionSpec,
    world: World,
    state: TrainingState,
    examples: Examples,
    hooks: Hooks,
) -> bool:
    """Train `state` to the end of the recipe, or until some process is `stopping()`; saves on both.

    What a network drops at random depends on (seed, step, process) alone.

    Returns:
        True when the recipe is complete.

    Raises:
        Diverged: a loss, gradient or weight was not finite; the state before that step is saved.
        DataError: examples cannot be read; the state is saved.
    """
    spec = objective.recipe.training
    part = world.part(spec.batch)
    recent = Recent(deque(maxlen=REMEMBERED))
    clock = _Clock()
    state.replica.train()
    while state.step < spec.steps:
        read = _next(examples, state, world, hooks, clock)
        if read is None:
            break
        rate = rate_at(state.step, spec.steps, spec.optimiser)
        set_rate(state.optimiser, rate)
        batch = objective.draw(state.step, *read, part).to(world.device)
        torch.manual_seed(generator_for(spec.seed, _DROPPED, state.step, world.rank).initial_seed())
        own = _gradients(objective, execution, state, batch)
        branches = [total / world.size for total in world.total(own)]
        norm = _clip_gradients(state, most=spec.optimiser.clip_norm)
        recent.steps.append((state.step, sum(branches), norm, rate))
        if fault := recent.fault(may_overflow=state.arithmetic.may_overflow):
            message = diagnose(fault, recent, branches, state.network, batch, world)
            if _all_finite(state, world):
                hooks.save()
            raise Diverged(message)
        state.arithmetic.step(state.optimiser)
        follow(state.average, state.network, spec.optimiser.ema)
        state.step += 1
        state.position = hooks.position()
        clock.count(branches, norm)
        if state.step % REPORT_EVERY == 0 or state.step == spec.steps:
            hooks.report(clock.report(state.step, rate, spec.batch))
        hooks.after_step(state.step)
        if hooks.save_every is not None and state.step % hooks.save_every == 0:
            _save(state, world, hooks)
            clock.saved()
    _save(state, world, hooks)
    return state.step == spec.steps


def _next(
    examples: Examples, state: TrainingState, world: World, hooks: Hooks, clock: "_Clock"
) -> tuple[Tensor, Shown] | None:
    """The examples of the next step; None where some process is to stop.

    This is where the processes agree: on stopping, on saving, and on one that cannot read.
    """
    read: tuple[Tensor, Shown] | DataError
    try:
        read = next(examples)
    except DataError as error:
        read = error
    due = world.leads and clock.due(hooks.save_every_s)
    stop, save, unread = world.total([hooks.stopping(), due, isinstance(read, DataError)])
    if stop:
        return None
    if save or (unread and state.step):
        _save(state, world, hooks)
        clock.saved()
    if isinstance(read, DataError):
        raise read
    if unread:
        raise ReadElsewhere
    return read


def _save(state: TrainingState, world: World, hooks: Hooks) -> None:
    """Save a state from which training can go on.

    Raises:
        Diverged: a weight is not finite; checkpoints before are as they were.
    """
    if not _all_finite(state, world):
        msg = (
            f"weights are not finite after step {state.step}; lower the rate, then continue with "
            f"--resume from the last checkpoint"
        )
        raise Diverged(msg)
    hooks.save()


def _all_finite(state: TrainingState, world: World) -> bool:
    return not any(world.total([not all(map(is_finite, state.network.parameters()))]))


def _gradients(
    objective: Objective,
    execution: ExecutionSpec,
    state: TrainingState,
    batch: Batch,
) -> Tensor:
    """Leave the gradients of a batch in the network; return its branches' losses (R,)."""
    state.optimiser.zero_grad(set_to_none=True)
    parts = batch.parts(execution.accumulate)
    found = []
    for index, piece in enumerate(parts):
        with state.sharing(last=index == len(parts) - 1):
            with state.arithmetic.forward():
                branches = objective.losses(state.replica, piece)
            state.arithmetic.backward(branches.sum() / len(parts))
        found.append(branches.detach())
    return torch.stack(found).mean(0)


def _clip_gradients(state: TrainingState, *, most: float | None) -> float:
    """Scale all gradients down to the norm `most` if they exceed it; returns the norm before."""
    state.arithmetic.scaler.unscale_(state.optimiser)
    parameters = [p for p in state.network.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    if most is not None and bool(norm.isfinite()):
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm.item()


@dataclass(slots=True)
class _Clock:
    """Sums since the last report, and when things last happened."""

    reported_at: float = field(default_factory=time.monotonic)
    saved_at: float = field(default_factory=time.monotonic)
    steps: int = 0
    norm: float = 0.0
    branches: tuple[float, ...] = ()

    def due(self, every_s: float) -> bool:
        return time.monotonic() - self.saved_at >= every_s

    def saved(self) -> None:
        self.saved_at = time.monotonic()

    def count(self, branches: list[float], norm: float) -> None:
        before = self.branches or (0.0,) * len(branches)
        self.branches = tuple(a + b for a, b in zip(before, branches, strict=True))
        self.norm += norm
        self.steps += 1

    def report(self, step: int, rate: float, batch: int) -> Report:
        now = time.monotonic()
        branches = tuple(total / self.steps for total in self.branches)
        report = Report(
            step=step,
            loss=sum(branches),
            branches=branches,
            gradient_norm=self.norm / self.steps,
            rate=rate,
            images_per_s=self.steps * batch / (now - self.reported_at),
        )
        self.reported_at, self.steps, self.norm, self.branches = now, 0, 0.0, ()
        return report
