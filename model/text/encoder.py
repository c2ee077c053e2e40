"""A frozen text encoder: a prompt in, one state a token out.

Prompts are encoded one at a time, as padding and dynamic quantisation would make the states of a
prompt depend on its neighbours; `model.text.batched` has the one exception.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from model.specs.text import TextEncoderIdentity


class EncoderRefused(ValueError):
    """A text encoder cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encoder makes of a prompt.

    Attributes:
        states: (n, width) float32 on the CPU, one a token that was read.
        length: tokens of the whole prompt, special ones included; more than n where it was cut off.
    """

    states: Tensor
    length: int


class TextEncoder(Protocol):
    """Makes token states; its methods may be called from several threads at once."""

    @property
    def identity(self) -> TextEncoderIdentity:
        """Which encoder it is: another one makes other states."""

    def encode(self, prompt: str, tokens: int) -> Encoded:
        """Encode a prompt, of which at most `tokens` tokens are read; any text has an answer.

        Raises:
            EncoderRefused: `tokens` is more than the encoder has positions for.
        """

    def encode_all(self, prompts: Sequence[str], tokens: int) -> list[Encoded]:
        """Encode several prompts, in their order.

        Raises:
            EncoderRefused: see `encode`.
        """


def refusal(title: str, reason: str) -> EncoderRefused:
    """The error, in one line, about the encoder of this title."""
    return EncoderRefused(f"text encoder {title!r}: {' '.join(reason.split()):.400}")


def require_packages(title: str, names: Sequence[str], extra: str) -> None:
    """Raise EncoderRefused unless the encoder of this title has the packages of an extra."""
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if absent:
        reason = f"{', '.join(absent)} is not installed: pip install 'dimr-serve[{extra}]'"
        raise refusal(title, reason)


def shortened(ids: Sequence[int], tokens: int) -> list[int]:
    """At most `tokens` ids; those that were cut off keep the last one, which ends every prompt."""
    return list(ids) if len(ids) <= tokens else [*ids[: tokens - 1], ids[-1]]


def require_positions(tokens: int, positions: int | None) -> None:
    """Raise EncoderRefused unless an encoder with so many positions can read so many tokens."""
    if positions is not None and tokens > positions:
        msg = f"tokens: got {tokens}; allowed: at most {positions}, the text encoder's positions"
        raise EncoderRefused(msg)


def well_formed(prompt: str) -> str:
    """The prompt with U+FFFD for each lone surrogate, which no tokeniser takes."""
    return prompt.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
