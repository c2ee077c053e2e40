"""A codec whose decoder is a compiled part."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from export.runtime.trajectory import Tensors
from model.autoencoder import Codec


class PartCodec:
    """Decodes by a part (latents in, images in [-1, 1] out), in all else like another codec."""

    def __init__(self, codec: Codec, decoder: Callable[[Tensor], Tensors], rows: int = 1) -> None:
        """Call `decoder` with so many rows, the fewest that it takes."""
        self._codec = codec
        self._decoder = decoder
        self._rows = rows

    def threshold(self, data: Tensor) -> Tensor:
        """The data prediction to use instead of this one."""
        return self._codec.threshold(data)

    def decode(self, x: Tensor) -> Tensor:
        """Images from latents, one at a time, so that none depends on its neighbours."""
        return torch.cat([self._decoder(z.expand(self._rows, *z.shape))[0][:1] for z in x])

    def to(self, _device: torch.device) -> Self:
        """The codec itself: the part is where it was opened."""
        return self
