"""What an engine computes with: the seam between slots, which are one implementation, and devices.

A backend's network is called like the bundle's own, `network(x or xs, t, *condition)`, and answers
like it: float32 tensors, low to high. All else, slots, tables, guidance, previews and cards, is
`SlotEngine`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from export.runtime.rows import Grouping, agreeing_groups
from export.runtime.streams import ProgramOrder, Streams
from export.runtime.trajectory import Update, update_scale
from model.autoencoder import Codec
from model.text.prompts import Prompts

EngineName = Literal[
    "pytorch", "onnx", "tensorrt", "tensorrt-rtx", "pytorch-cuda", "pytorch-compile"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A network on a device, and how to call it there.

    Attributes:
        name: what an operator calls it.
        why: why it was chosen, for card and log.
        precision: what the network computes in, e.g. "float16".
        device: where slots live.
        network: called like the bundle's own.
        codec: the bundle's own, or one that decodes like it.
        prompts: what reads prompts in place of the bundle's own; None is that one, if there is any.
        grouping: which numbers of rows a call may have.
        update: the solver's part of a tick.
        streams: the order of things.
        facts: more for the card, e.g. the library and its version.
    """

    name: EngineName
    why: str
    precision: str
    device: torch.device
    network: nn.Module
    codec: Codec
    prompts: Prompts | None = None
    grouping: Grouping = agreeing_groups
    update: Update = update_scale
    streams: Streams = field(default_factory=ProgramOrder)
    facts: Mapping[str, object] = field(default_factory=dict)
