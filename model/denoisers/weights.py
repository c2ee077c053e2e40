"""Networks made from weights that exist, without drawing new ones first."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def without_memory(build: Callable[[], Network]) -> Network:
    """Build a network on the meta device: names and shapes of everything, values of nothing."""
    with torch.device("meta"):
        return build()


def with_weights(build: Callable[[], Network], weights: Mapping[str, Tensor]) -> Network:
    """Build a network on the CPU around these weights.

    They are copied into its own dtypes, so that what they come from (a file mapped into memory, or
    another network) may go. Initialising 500 million parameters would take longer than reading
    them, so that is left out, unless the network has buffers that are computed and not saved.

    Raises:
        RuntimeError: names or shapes differ; names them.
    """
    network = without_memory(build)
    if dict(network.named_buffers()).keys() <= network.state_dict().keys():
        network.to_empty(device="cpu")
    else:
        network = build()
    network.load_state_dict(weights)
    return network
