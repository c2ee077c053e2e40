"""Classes and seeds to images, on whatever device the network is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.autoencoder import Codec
from model.diffusion.predictor import NoisePredictor
from model.sampling.loop import OnStep, sample
from model.sampling.noise import initial_noise
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

    def paint(
        self,
        table: SolverTable,
        labels: Sequence[int],
        seeds: Sequence[int],
        *,
        on_step: OnStep | None = None,
    ) -> NDArray[np.uint8]:
        """Take one batch through a table: an image (H, W, 3) of each class from each seed.

        Noise is drawn on the CPU, so a seed means the same image everywhere but for rounding.
        """
        device = next(self.network.parameters()).device
        predictor = NoisePredictor(self.network, self.process)
        shape = (self.spec.channels, self.spec.size, self.spec.size)
        x = initial_noise(seeds, shape, device=device)
        y = torch.tensor(labels, device=device)
        null = torch.full_like(y, self.spec.classes)
        x = sample(
            lambda x, t: predictor(x, t, y),
            table,
            x,
            unconditional=lambda x, t: predictor(x, t, null),
            threshold=self.codec.threshold,
            on_step=on_step,
        )
        return to_levels(self.codec.to(device).decode(x))


def to_levels(images: Tensor) -> NDArray[np.uint8]:
    """Images (B, 3, H, W) in [-1, 1] to uint8 (B, H, W, 3), rounded to the nearest level."""
    levels: NDArray[np.uint8] = (
        ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    )
    return levels
