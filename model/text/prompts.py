"""Token states of prompts, each encoded once."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from model.specs.text import TextEncoderIdentity
from model.text.encoder import Encoded, TextEncoder

KEPT_BYTES = 256 * 2**20  # 25 kB a prompt of the shipped model, 1 MiB a long one of a T5-XL


class Prompts:
    """Encodes prompts for a network that reads `tokens` tokens, and keeps the most recent ones.

    The empty prompt is encoded first of all: it is the condition of unconditional images. Every
    method may be called from any thread.
    """

    def __init__(self, encoder: TextEncoder, tokens: int, *, kept_bytes: int = KEPT_BYTES) -> None:
        """Encode the empty prompt.

        Args:
            encoder: makes the states.
            tokens: that the network reads.
            kept_bytes: most memory of the prompts that are kept, with their states.

        Raises:
            EncoderRefused: the encoder cannot read so many tokens.
        """
        self.encoder = encoder
        self.tokens = tokens
        self._kept_bytes = kept_bytes
        self._recent: OrderedDict[str, Encoded] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._encoded([""])

    @property
    def identity(self) -> TextEncoderIdentity:
        """Of the encoder."""
        return self.encoder.identity

    def states(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token states of each prompt; those that are new are encoded in one call of the encoder.

        Returns:
            States (B, tokens, width) float32 on the CPU, zero where a prompt has no token, and
            where it has one (B, tokens) bool.
        """
        states = torch.zeros(len(prompts), self.tokens, self.identity.width)
        mask = torch.zeros(len(prompts), self.tokens, dtype=torch.bool)
        encoded = self._encoded(prompts)
        for row, prompt in enumerate(prompts):
            found = encoded[prompt].states
            states[row, : len(found)] = found
            mask[row, : len(found)] = True
        return states, mask

    def notice(self, prompt: str) -> str | None:
        """What to tell the author of a prompt that is cut off; None if it is read whole."""
        length = self._encoded([prompt])[prompt].length
        if length <= self.tokens:
            return None
        return (
            f"prompt: has {length} tokens; the model reads the first {self.tokens}: "
            f"the rest is cut off and has no effect"
        )

    def _encoded(self, prompts: Sequence[str]) -> dict[str, Encoded]:
        """From memory, or by the encoder; two threads may then both do the work, to one result."""
        asked = list(dict.fromkeys(prompts))
        with self._lock:
            known = {prompt: self._recent[prompt] for prompt in asked if prompt in self._recent}
        new = [prompt for prompt in asked if prompt not in known]
        made = dict(zip(new, self.encoder.encode_all(new, self.tokens), strict=True))
        found = known | made
        with self._lock:
            for prompt in asked:
                self._keep(prompt, found[prompt])
        return found

    def _keep(self, prompt: str, encoded: Encoded) -> None:
        """Put a prompt last among those to be forgotten; the lock is held."""
        if prompt not in self._recent:
            self._recent[prompt] = encoded
            self._bytes += _size(prompt, encoded)
        self._recent.move_to_end(prompt)
        while self._bytes > self._kept_bytes:
            self._bytes -= _size(*self._recent.popitem(last=False))


def _size(prompt: str, encoded: Encoded) -> int:
    """Bytes of a prompt and its states."""
    return sys.getsizeof(prompt) + encoded.states.nbytes
