"""Pretrained text encoders beside a network that trains on an accelerator: many prompts a call.

Padding is masked, so prompts have no say in each other's states but by rounding, which follows the
shapes of a call: the states of a prompt agree with those it has alone to about 1e-5 of their size.
On the CPU every prompt is encoded alone, in training as in a service, so that a stopped run, which
has forgotten what it had encoded, continues bit for bit.
"""

from collections.abc import Iterator, Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from model.text.encoder import Encoded, TextEncoder
from model.text.pretrained import Pretrained

TOGETHER = 4096  # tokens of one call, padding included


class Batched(Pretrained):
    """A T5 or CLIP text encoder that encodes prompts of like lengths together."""

    def __init__(self, encoder: Pretrained, device: torch.device) -> None:
        """Take an encoder over.

        Args:
            encoder: its network is moved; it is of no use any more.
            device: where to.
        """
        super().__init__(
            encoder.network.to(device),
            encoder.tokenizer,
            encoder.identity,
            positions=encoder.positions,
            folder=encoder.folder,
        )
        self._device = device

    def encode(self, prompt: str, tokens: int) -> Encoded:
        """See `TextEncoder`."""
        (encoded,) = self.encode_all([prompt], tokens)
        return encoded

    @torch.no_grad()
    def encode_all(self, prompts: Sequence[str], tokens: int) -> list[Encoded]:
        """See `TextEncoder`; longer prompts go first, so that calls hold little padding."""
        read = [self.read(prompt, tokens) for prompt in prompts]
        found: dict[int, Encoded] = {}
        for places in _calls([len(ids) for ids, _ in read]):
            rows = [read[place][0] for place in places]
            ids = pad_sequence(rows, batch_first=True)
            mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            states = self.network(
                input_ids=ids.to(self._device), attention_mask=mask.to(self._device)
            ).last_hidden_state.cpu()
            for place, row, state in zip(places, rows, states, strict=True):
                own = state[: len(row)].clone()  # whoever keeps it keeps no padding
                found[place] = Encoded(own, read[place][1])
        return [found[place] for place in range(len(read))]


def for_training(encoder: TextEncoder, device: torch.device) -> TextEncoder:
    """The encoder as a run on this device is to use it.

    Args:
        encoder: as it was opened; not to be used besides.
        device: of the network that is trained.
    """
    if isinstance(encoder, Pretrained) and device.type != "cpu":
        return Batched(encoder, device)
    return encoder


def _calls(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places in `lengths`, the largest first, cut into as many a call as fit."""
    rest = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    while rest:
        count = max(1, TOGETHER // lengths[rest[0]])
        yield rest[:count]
        rest = rest[count:]
