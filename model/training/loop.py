"""Training, to be read from top to bottom.

A step draws everything it needs from (seed, step) alone, so a run that was stopped and resumed
continues bit for bit as if it had not been.
"""

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from model.denoisers.dimr import DiMR
from model.diffusion.build import build_schedule
from model.diffusion.loss import multiscale_loss
from model.diffusion.schedule import Schedule
from model.specs.process import Prediction, ProcessSpec
from model.specs.recipe import Recipe
from model.specs.training import OptimiserSpec, TrainingSpec
from model.training import checkpoint
from model.training.checkpoint import TrainingState
from model.training.data import LabelledTensors, batch_indices, generator_for


class LossDiverged(RuntimeError):
    """The loss is no longer a finite number; the last checkpoint is from before that."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What the loop reports after every step; `loss` is the average since the last report."""

    step: int
    steps: int
    loss: float
    rate: float
    images_per_s: float


def new_state(recipe: Recipe) -> TrainingState:
    """Fresh weights from the recipe's seed, with their average and optimiser."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(recipe.training.seed)
        network = DiMR(recipe.network)
    spec = recipe.training.optimiser
    undecayed = {n for n, _ in network.named_parameters() if n.endswith((".slope", ".offset"))}
    groups = [
        {
            "params": [p for n, p in network.named_parameters() if n not in undecayed],
            "weight_decay": spec.weight_decay,
        },
        {
            "params": [p for n, p in network.named_parameters() if n in undecayed],
            "weight_decay": 0.0,
        },
    ]
    optimiser = torch.optim.AdamW(groups, lr=spec.rate, betas=spec.betas)
    return TrainingState(
        network, copy.deepcopy(network).requires_grad_(requires_grad=False), optimiser
    )


def rate_at(step: int, steps: int, spec: OptimiserSpec) -> float:
    """Learning rate of a step: warm-up from zero, constant, then linear down to the floor."""
    warm = min(step / spec.warmup_steps, 1.0) if spec.warmup_steps else 1.0
    start = steps * (1 - spec.tail)
    fall = 0.0 if step <= start else (step - start) / (steps - start)
    return spec.rate * warm * (1 - fall * (1 - spec.tail_floor))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step trains on: x0 (B, C, S, S), noise like it, t (B,), y (B,) with null classes."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    y: Tensor


def draw_batch(data: LabelledTensors, step: int, recipe: Recipe) -> Batch:
    """The batch of a step; times are stratified over [t_min, t_max]."""
    spec, process = recipe.training, recipe.process
    chosen = batch_indices(step, spec.batch, len(data), spec.seed)
    generator = generator_for(spec.seed, 1, step)
    x0 = data.x[chosen]
    noise = torch.randn(x0.shape, generator=generator)
    strata = (torch.arange(spec.batch) + torch.rand(spec.batch, generator=generator)) / spec.batch
    t = process.t_min + (process.t_max - process.t_min) * strata
    dropped = torch.rand(spec.batch, generator=generator) < spec.class_dropout
    y = torch.where(dropped, recipe.network.classes, data.labels[chosen])
    return Batch(x0, noise, t, y)


def batch_loss(
    network: nn.Module, batch: Batch, schedule: Schedule, process: ProcessSpec
) -> Tensor:
    """Mean multi-scale loss of a batch, on noise or on velocity as the process says."""
    alpha, sigma = (v.view(-1, 1, 1, 1) for v in (schedule.alpha(batch.t), schedule.sigma(batch.t)))
    x = alpha * batch.x0 + sigma * batch.noise
    match process.prediction:
        case Prediction.NOISE:
            target = batch.noise
        case Prediction.VELOCITY:
            target = alpha * batch.noise - sigma * batch.x0  # arXiv:2202.00512
    return multiscale_loss(network(x, batch.t, batch.y), target).mean()


def train(
    recipe: Recipe,
    data: LabelledTensors,
    run: Path,
    state: TrainingState,
    *,
    checkpoint_every_s: float,
    report: Callable[[Progress], None],
    stopping: Callable[[], bool],
) -> bool:
    """Train `state` to the end of the recipe, or until `stopping()`; saves on both.

    Returns:
        True when the recipe is complete.

    Raises:
        LossDiverged: a loss was not finite; nothing of that step is saved.
    """
    spec: TrainingSpec = recipe.training
    schedule = build_schedule(recipe.process.schedule)
    parameters: list[Tensor] = list(state.network.parameters())
    averaged: list[Tensor] = list(state.average.parameters())
    losses: list[float] = []
    saved_at = reported_at = time.monotonic()
    state.network.train()
    while state.step < spec.steps and not stopping():
        rate = rate_at(state.step, spec.steps, spec.optimiser)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        batch = draw_batch(data, state.step, recipe)
        loss = batch_loss(state.network, batch, schedule, recipe.process)
        value = loss.item()
        if not math.isfinite(value):
            msg = (
                f"the loss became {value} at step {state.step} with rate {rate:.2g}; lower the "
                f"rate or set clip_norm, then continue with --resume from the last checkpoint"
            )
            raise LossDiverged(msg)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if spec.optimiser.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, spec.optimiser.clip_norm)
        state.optimiser.step()
        torch._foreach_lerp_(averaged, parameters, 1 - spec.optimiser.ema)
        state.step += 1
        losses.append(value)
        now = time.monotonic()
        if state.step % 50 == 0 or state.step == spec.steps:
            pace = len(losses) * spec.batch / (now - reported_at)
            progress = Progress(state.step, spec.steps, sum(losses) / len(losses), rate, pace)
            _log(run, progress)
            report(progress)
            losses.clear()
            reported_at = now
        if now - saved_at >= checkpoint_every_s:
            checkpoint.save(run, state)
            saved_at = now
    checkpoint.save(run, state)
    return state.step == spec.steps


def _log(run: Path, progress: Progress) -> None:
    """Append one JSON line to the run's log."""
    line = {
        "step": progress.step,
        "loss": round(progress.loss, 6),
        "rate": progress.rate,
        "images_per_s": round(progress.images_per_s, 1),
        "time": round(time.time(), 1),
    }
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
