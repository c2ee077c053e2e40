"""What a network costs: parameters and multiply-adds of each part, without any weight in memory.

One forward pass of one example on the meta device, where only shapes exist. A multiply-add is one
step of a matrix product or convolution, the two products of attention included; element-wise
operations, norms and time-dependent parameters are not counted. The DiMR paper calls these numbers
GFLOPs.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.denoisers.build import Denoiser, blank_inputs, build_denoiser
from model.denoisers.parts import Parts, Place
from model.specs.networks import NetworkSpec


class NetworkTooLarge(ValueError):
    """A spec's sizes are beyond what even shapes can be computed with."""


@dataclass(frozen=True, slots=True)
class Part:
    """One row of a count: `stage` is None for what belongs to none, see `Place`."""

    stage: int | None
    name: str
    parameters: int
    macs: int


@dataclass(frozen=True, slots=True)
class Count:
    """A network's parts in the order in which it holds them."""

    parts: tuple[Part, ...]

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return sum(part.parameters for part in self.parts)

    @property
    def macs(self) -> int:
        """Multiply-adds of the whole network for one example."""
        return sum(part.macs for part in self.parts)

    @property
    def stage_macs(self) -> tuple[int, ...]:
        """Multiply-adds of each stage, low to high resolution; none where there are no stages."""
        stages = Counter[int]()
        for part in self.parts:
            if part.stage is not None:
                stages[part.stage] += part.macs
        return tuple(stages[index] for index in sorted(stages))


def meta_network(spec: NetworkSpec) -> Denoiser:
    """The network of a spec with shapes alone: its weights take no memory and cannot be read."""
    with torch.device("meta"):
        return build_denoiser(spec)


def count_network(spec: NetworkSpec) -> Count:
    """Count the network that a spec describes.

    Raises:
        NetworkTooLarge: a tensor would have more than 2^63 bytes.
    """
    try:
        network = meta_network(spec)
        own_macs = _own_macs(network, spec)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        msg = f"network: its tensors are too large to be counted: {error}"
        raise NetworkTooLarge(msg) from error
    parts = Parts(spec)
    parameters = Counter[Place]()
    for name, parameter in network.named_parameters():
        parameters[parts.of(name)] += parameter.numel()
    macs = Counter[Place]()
    for name, own in own_macs.items():
        macs[parts.of(name)] += own
    rows = dict.fromkeys([*parameters, *+macs])
    return Count(tuple(Part(*row, parameters[row], macs[row]) for row in rows))


def _own_macs(network: nn.Module, spec: NetworkSpec) -> Mapping[str, int]:
    """Multiply-adds that each module does itself rather than through a module it calls."""
    inputs = blank_inputs(spec, 1, "meta", t=0.5)
    # not every fused attention is known to the counter; its two products are
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as seen:
        network(*inputs)
    root = type(network).__name__
    below = {  # with everything a module calls; a multiply-add is two operations
        name.removeprefix(root).removeprefix("."): sum(operations.values()) // 2
        for name, operations in seen.get_flop_counts().items()
        if name == root or name.startswith(f"{root}.")
    }
    own = dict(below)
    for name in below.keys() - {""}:
        caller = name
        while (caller := caller.rpartition(".")[0]) not in below:
            pass  # lists of modules are not called
        own[caller] -= below[name]
    assert min(own.values()) >= 0, "a module was called by another one than its holder"
    return own
