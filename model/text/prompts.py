"""Token states of prompts, each encoded once."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from model.specs.text import TextEncoderIdentity
from model.text.encoder import Encoded, TextEncoder

KEPT = 4096  # prompts; in the shipped model at most 25 kB each


class Prompts:
    """Encodes prompts for a network that reads `tokens` tokens, and keeps the most recent ones.

    The empty prompt is encoded first of all: it is the condition of unconditional images. Every
    method may be called from any thread.
    """

    def __init__(self, encoder: TextEncoder, tokens: int, kept: int = KEPT) -> None:
        """Encode the empty prompt.

        Raises:
            EncoderRefused: the encoder cannot read so many tokens.
        """
        self.encoder = encoder
        self.tokens = tokens
        self._kept = kept
        self._recent: OrderedDict[str, Encoded] = OrderedDict()
        self._lock = threading.Lock()
        self._encoded("")

    @property
    def identity(self) -> TextEncoderIdentity:
        """Of the encoder."""
        return self.encoder.identity

    def states(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token states of each prompt, the same whatever it is asked together with.

        Returns:
            States (B, tokens, width) float32 on the CPU, zero where a prompt has no token, and
            where it has one (B, tokens) bool.
        """
        states = torch.zeros(len(prompts), self.tokens, self.identity.width)
        mask = torch.zeros(len(prompts), self.tokens, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            found = self._encoded(prompt).states
            states[row, : len(found)] = found
            mask[row, : len(found)] = True
        return states, mask

    def notice(self, prompt: str) -> str | None:
        """What to tell the author of a prompt that is cut off; None if it is read whole."""
        length = self._encoded(prompt).length
        if length <= self.tokens:
            return None
        return (
            f"prompt: has {length} tokens; the model reads the first {self.tokens}: "
            f"the rest is cut off and has no effect"
        )

    def _encoded(self, prompt: str) -> Encoded:
        """From memory, or by the encoder; two threads may then both do the work, to one result."""
        with self._lock:
            if prompt in self._recent:
                self._recent.move_to_end(prompt)
                return self._recent[prompt]
        encoded = self.encoder.encode(prompt, self.tokens)
        with self._lock:
            self._recent[prompt] = encoded
            self._recent.move_to_end(prompt)
            if len(self._recent) > self._kept:
                self._recent.popitem(last=False)
        return encoded
