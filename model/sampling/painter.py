"""Classes or prompts and seeds to images, on whatever device the network is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model.autoencoder import Codec
from model.diffusion.build import build_pyramid
from model.diffusion.errors import ParameterRejected
from model.diffusion.predictor import NoisePredictor
from model.sampling.conditions import Conditions, Wanted
from model.sampling.loop import OnScales, PredictScales, sample_scales
from model.sampling.noise import initial_scales
from model.sampling.tables import SolverTable
from model.specs.networks import NetworkSpec
from model.specs.process import ProcessSpec


@dataclass(frozen=True, slots=True)
class Painter:
    """A network with what reads its tensors."""

    network: nn.Module
    spec: NetworkSpec
    process: ProcessSpec
    codec: Codec
    conditions: Conditions

    def paint(
        self,
        tables: Sequence[SolverTable],
        wanted: Sequence[Wanted],
        seeds: Sequence[int],
        *,
        size: int | None = None,
        on_step: OnScales | None = None,
    ) -> NDArray[np.uint8]:
        """Take one batch through its tables: an image of what is wanted from each seed.

        Noise is drawn on the CPU, so a seed means the same image everywhere but for rounding. Below
        the highest scale nothing is computed of the scales above, and the image is the one that
        they would have been built on.

        Args:
            tables: one for each scale of the process, low to high.
            wanted: a class or prompt for each image.
            seeds: one for each image.
            size: side of the images, one of a layered model's scales; the highest by default.
            on_step: told of the scales that are computed, after each network call.

        Returns:
            (B, H, W, 3).

        Raises:
            ParameterRejected: the model makes no images of this size, or cannot draw what is
                wanted; or a seed is out of range.
        """
        count = self._scales_up_to(size)
        device = next(self.network.parameters()).device
        predictor = NoisePredictor(self.network, self.process, self.spec.sides)
        pyramid = build_pyramid(self.process, self.spec.sides)
        xs = initial_scales(seeds, self.spec.channels, pyramid, device=device)

        def predict(condition: tuple[Tensor, ...]) -> PredictScales:
            return lambda xs, t: predictor(xs, t, *condition)

        *_, x = sample_scales(
            predict(self.conditions.rows(wanted, device)),
            tables[:count],
            xs[:count],
            unconditional=predict(self.conditions.null(len(wanted), device)),
            threshold=self.codec.threshold,
            on_step=on_step,
        )
        return to_levels(self.codec.to(device).decode(x))

    def _scales_up_to(self, size: int | None) -> int:
        sizes = image_sizes(self.spec, self.process)
        if size is None:
            return len(sizes)
        check_size(size, sizes)
        return sizes.index(size) + 1


def image_sizes(spec: NetworkSpec, process: ProcessSpec) -> tuple[int, ...]:
    """Sides of the images that a model makes, low to high."""
    return tuple(side * process.codec.factor for side in spec.sides)


def check_size(size: int, sizes: Sequence[int]) -> None:
    """Refuse images that a model does not make.

    Raises:
        ParameterRejected: `size` is none of `sizes`.
    """
    if size not in sizes:
        raise ParameterRejected(size, name="size", allowed=" or ".join(map(str, sizes)))


def to_levels(images: Tensor) -> NDArray[np.uint8]:
    """Images (B, 3, H, W) in [-1, 1] to uint8 (B, H, W, 3), rounded to the nearest level."""
    levels: NDArray[np.uint8] = (
        ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    )
    return levels
