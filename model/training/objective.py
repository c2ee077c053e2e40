"""What a step learns from: the noise, times and conditions it draws, and the loss on them.

Draws depend on (seed, step) and on an example's place in the whole batch, never on how many
processes share it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.data.order import generator_for, normal
from model.denoisers.layered import cut
from model.diffusion.broadcast import per_sample
from model.diffusion.build import build_pyramid, build_schedules
from model.diffusion.loss import branch_losses, scale_losses
from model.sampling.conditions import Conditions
from model.specs.process import Prediction
from model.specs.recipe import Recipe
from model.specs.training import Crop, Loss, Measured, Times

_TIMES, _NOISE, _OWN_NOISE, _WINDOWS = 1, 2, 7, 8  # streams of randomness; data order is stream 0
Shown = Tensor | Sequence[str]
"""What examples show: classes (b,), or b captions."""

CHAIN = 1000  # noising steps of the authors' discrete times


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step trains on.

    Attributes:
        x0: (B, C, S, S) clean images or latents.
        noise: standard normal draws, one for each scale, low to high: (B, C, d, d).
        t: (B,) diffusion times.
        condition: what the network is told, with the null condition where it was dropped.
        window: (B, 2) corners of the windows that higher scales are cut to; None for whole images.
    """

    x0: Tensor
    noise: tuple[Tensor, ...]
    t: Tensor
    condition: tuple[Tensor, ...]
    window: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(
            self.x0.to(device),
            tuple(noise.to(device) for noise in self.noise),
            self.t.to(device),
            tuple(part.to(device) for part in self.condition),
            self.window,  # read as numbers
        )

    def parts(self, count: int) -> "list[Batch]":
        """Cut into `count` equal parts, in order."""
        whole = (None,) * count
        return [
            Batch(*piece)
            for piece in zip(
                self.x0.chunk(count),
                zip(*(noise.chunk(count) for noise in self.noise), strict=True),
                self.t.chunk(count),
                zip(*(part.chunk(count) for part in self.condition), strict=True),
                whole if self.window is None else self.window.chunk(count),
                strict=True,
            )
        ]


class Objective:
    """Draws the batches of a recipe and measures a network on them."""

    def __init__(self, recipe: Recipe, conditions: Conditions) -> None:
        """Prepare schedules and operators.

        Args:
            recipe: what is trained.
            conditions: of its network, see `model.sampling.conditions.conditions_for`.
        """
        self.recipe = recipe
        self._conditions = conditions
        network, scales = recipe.network, recipe.process.scales
        self._schedules = build_schedules(recipe.process, network.sides)
        self._draws_apart = scales is not None and scales.shared < 1
        self._pyramid = build_pyramid(recipe.process, network.sides)

    def draw(self, step: int, x0: Tensor, shown: Shown, part: slice) -> Batch:
        """Complete the examples of a step.

        Args:
            step: counted from 0.
            x0: (b, C, S, S) this process's examples.
            shown: their classes or captions.
            part: where those b lie in the whole batch.
        """
        spec = self.recipe.training
        generator = generator_for(spec.seed, _TIMES, step)
        t = _times(self.recipe, generator)[part]
        dropped = torch.rand(spec.batch, generator=generator)[part] < spec.condition_dropout
        wanted = shown.tolist() if isinstance(shown, Tensor) else shown
        given = self._conditions.rows(wanted, x0.device)
        null = self._conditions.null(1, x0.device)
        condition = tuple(
            torch.where(dropped.view(-1, *(1,) * (rows.ndim - 1)), none, rows)
            for rows, none in zip(given, null, strict=True)
        )
        window = self._windows(spec.crop, step)
        return Batch(
            x0, self._noise(step, part), t, condition, None if window is None else window[part]
        )

    def states(self, batch: Batch) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The noisy input of each scale, low to high, and what the network is held to there.

        Where every scale has the same noise, z_low = (alpha_low / alpha_high) A z_high.
        """
        inputs, targets = [], []
        scales = zip(
            self._pyramid.images(batch.x0),
            self._pyramid.noise(batch.noise),
            self._schedules,
            strict=True,
        )
        for x0, noise, schedule in scales:
            alpha = per_sample(schedule.alpha(batch.t), x0)
            sigma = per_sample(schedule.sigma(batch.t), x0)
            inputs.append(alpha * x0 + sigma * noise)
            match self.recipe.process.prediction:
                case Prediction.NOISE:
                    targets.append(noise)
                case Prediction.VELOCITY:
                    targets.append(alpha * noise - sigma * x0)  # arXiv:2202.00512
        if batch.window is None:
            return tuple(inputs), tuple(targets)
        return self._cut(inputs, batch.window), self._cut(targets, batch.window)

    def losses(self, network: nn.Module, batch: Batch) -> Tensor:
        """What each branch or scale adds to the loss, low to high, a mean over the batch: (R,)."""
        inputs, targets = self.states(batch)
        weights = self._weights(batch.t)
        if self.recipe.process.scales is None:
            predictions = network(inputs[0], batch.t, *batch.condition)
            found = branch_losses(predictions, targets[0]) * weights
        else:
            predictions = network(inputs, batch.t, *batch.condition, window=batch.window)
            found = scale_losses(predictions, targets) * weights
        branches = found.mean(1)
        match self.recipe.training.loss:
            case Loss.MULTI_SCALE:
                return branches
            case Loss.LAST:  # others get a gradient of 0: processes must agree on what has one
                return torch.cat((branches[:-1] * 0, branches[-1:]))

    def _weights(self, t: Tensor) -> Tensor:
        """Weights of the squared errors of the predictions: (R, B), or (R, 1) or (1, B)."""
        spec, process = self.recipe.training, self.recipe.process
        weights = torch.tensor(spec.scale_weights or (1.0,), device=t.device)[:, None]
        if spec.measured is Measured.NOISE and process.prediction is Prediction.VELOCITY:
            # an error dv of the velocity is one of alpha dv of the noise
            alphas = torch.stack([schedule.alpha(t) for schedule in self._schedules])
            weights = weights * alphas.square()
        return weights

    def _noise(self, step: int, part: slice) -> tuple[Tensor, ...]:
        """Draws for each scale; those of lower ones are zero where they have no say."""
        seed, channels = self.recipe.training.seed, self.recipe.network.channels
        *lower, top = self._pyramid.sides
        count = part.stop - part.start
        draws = [
            normal((channels, side, side), part, seed, _OWN_NOISE, step, scale)
            if self._draws_apart
            else torch.zeros(count, channels, side, side)
            for scale, side in enumerate(lower)
        ]
        return (*draws, normal((channels, top, top), part, seed, _NOISE, step))

    def _windows(self, crop: Crop | None, step: int) -> Tensor | None:
        """Corners of the windows of the whole batch in pixels of the lowest scale."""
        spec = self.recipe.training
        if crop is None or step >= crop.share * spec.steps:
            return None
        generator = generator_for(spec.seed, _WINDOWS, step)
        most = self._pyramid.sides[0] - crop.side
        return torch.randint(most + 1, (spec.batch, 2), generator=generator)

    def _cut(self, images: Sequence[Tensor], window: Tensor) -> tuple[Tensor, ...]:
        """Images of all scales with the higher ones cut to their windows."""
        crop = self.recipe.training.crop
        assert crop is not None
        lowest, *higher = images
        ratios = (image.shape[-1] // lowest.shape[-1] for image in higher)
        return (
            lowest,
            *(
                cut(image, ratio * window, ratio * crop.side)
                for image, ratio in zip(higher, ratios, strict=True)
            ),
        )


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
