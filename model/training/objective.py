"""What a step learns from: the noise, times and classes it draws, and the loss on them.

Draws depend on (seed, step) and on an example's place in the whole batch, never on how many
processes share it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.data.order import generator_for, normal
from model.diffusion.loss import branch_losses
from model.diffusion.schedule import Schedule
from model.specs.process import Prediction, ProcessSpec
from model.specs.recipe import Recipe
from model.specs.training import Loss, Times

_TIMES, _NOISE = 1, 2  # streams of randomness; the order of the data is stream 0
CHAIN = 1000  # noising steps of the authors' discrete times


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step trains on: x0 (B, C, S, S), noise like it, t (B,), y (B,) with null classes."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    y: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(v.to(device) for v in (self.x0, self.noise, self.t, self.y)))

    def parts(self, count: int) -> "list[Batch]":
        """Cut into `count` equal parts, in order."""
        pieces = (v.chunk(count) for v in (self.x0, self.noise, self.t, self.y))
        return [Batch(*part) for part in zip(*pieces, strict=True)]


def draw_batch(recipe: Recipe, step: int, x0: Tensor, labels: Tensor, part: slice) -> Batch:
    """Complete the examples of a step.

    Args:
        recipe: says how times are drawn and how often a class is dropped.
        step: the step, counted from 0.
        x0: (b, C, S, S) this process's examples.
        labels: (b,) int64 their classes.
        part: where those b lie in the whole batch.
    """
    spec = recipe.training
    generator = generator_for(spec.seed, _TIMES, step)
    t = _times(recipe, generator)[part]
    dropped = torch.rand(spec.batch, generator=generator)[part] < spec.class_dropout
    y = torch.where(dropped, recipe.network.classes, labels)
    return Batch(x0, normal(x0.shape[1:], part, spec.seed, _NOISE, step), t, y)


def _times(recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Diffusion times of the whole batch: (B,) in [t_min, t_max]."""
    batch, low, high = recipe.training.batch, recipe.process.t_min, recipe.process.t_max
    match recipe.training.times:
        case Times.STRATIFIED:
            strata = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
            return low + (high - low) * strata
        case Times.DISCRETE:
            first, last = round(low * CHAIN), round(high * CHAIN)
            return torch.randint(first, last + 1, (batch,), generator=generator) / CHAIN


def losses(
    network: nn.Module, batch: Batch, schedule: Schedule, process: ProcessSpec, loss: Loss
) -> Tensor:
    """What each branch adds to the loss, low to high, a mean over the batch: (R,) float32.

    The network is held to the noise or to the velocity, as the process says.
    """
    alpha, sigma = (v.view(-1, 1, 1, 1) for v in (schedule.alpha(batch.t), schedule.sigma(batch.t)))
    x = alpha * batch.x0 + sigma * batch.noise
    match process.prediction:
        case Prediction.NOISE:
            target = batch.noise
        case Prediction.VELOCITY:
            target = alpha * batch.noise - sigma * batch.x0  # arXiv:2202.00512
    branches = branch_losses(network(x, batch.t, batch.y), target).mean(1)
    match loss:
        case Loss.MULTI_SCALE:
            return branches
        case Loss.LAST:  # the other heads get a gradient of 0: processes must agree on what has one
            return torch.cat((branches[:-1] * 0, branches[-1:]))
