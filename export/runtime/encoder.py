"""A text encoder that is a compiled part."""

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from export.runtime.trajectory import Tensors
from model.bundle import Bundle
from model.specs.text import TextEncoderIdentity
from model.text.encoder import Encoded
from model.text.pretrained import Pretrained
from model.text.prompts import Prompts


class PartEncoder:
    """Makes token states by a part (ids and mask in, states out), in all else like its encoder.

    Its methods may be called from several threads at once; the part is called by one at a time.
    """

    def __init__(
        self, encoder: Pretrained, part: Callable[[Tensor, Tensor], Tensors], rows: int = 1
    ) -> None:
        """Call `part` with so many rows, the fewest that it takes."""
        self._encoder = encoder
        self._part = part
        self._rows = rows
        self._lock = threading.Lock()

    @property
    def identity(self) -> TextEncoderIdentity:
        """Of the encoder that the part was compiled of."""
        return self._encoder.identity

    @torch.inference_mode()
    def states(self, ids: Tensor, mask: Tensor) -> Tensors:
        """States (1, L, width) on the CPU of tokens (1, L), of which those in the mask count."""
        rows = (value.repeat(self._rows, 1) for value in (ids, mask))
        with self._lock:
            (states,) = self._part(*rows)
            return (states[:1].to("cpu", copy=True),)

    def encode(self, prompt: str, tokens: int) -> Encoded:
        """See `model.text.encoder.TextEncoder`."""
        ids, length = self._encoder.read(prompt, tokens)
        padded = torch.zeros(1, tokens, dtype=torch.int64)
        padded[0, : len(ids)] = ids
        (states,) = self.states(padded, torch.arange(tokens)[None] < len(ids))
        return Encoded(states[0, : len(ids)], length)

    def encode_all(self, prompts: Sequence[str], tokens: int) -> list[Encoded]:
        """One after the other, so that none has a say in the bits of another."""
        return [self.encode(prompt, tokens) for prompt in prompts]


def prompts_by(bundle: Bundle, part: Callable[[Tensor, Tensor], Tensors], rows: int = 1) -> Prompts:
    """What reads the prompts of a bundle by a part that was compiled of its encoder.

    Args:
        bundle: has an encoder that is a PyTorch module.
        part: see `PartEncoder`.
        rows: the fewest that the part takes.
    """
    prompts = bundle.prompts
    assert prompts is not None
    assert isinstance(prompts.encoder, Pretrained)
    return Prompts(PartEncoder(prompts.encoder, part, rows), prompts.tokens)
