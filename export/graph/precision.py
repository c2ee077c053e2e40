"""In which precision a graph computes: float32, or float16 around islands of float32.

Weights decide: a layer computes in the type of its weights and casts what comes in to it, so
results of an island stay float32 until the next layer outside. Blocks take their input in float16,
so that an island does not widen the stream behind its own block. Norms are always islands inside:
their parameters and statistics are float32, while they keep the type of what they normalise. All
that comes in and goes out of the whole graph is float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType

from torch import Tensor, nn

from export.graph.nodes import LayerNormNode, RMSNormNode
from model.layers.norm import LayerNorm, RMSNorm
from model.layers.trunk import blocks_in

WRAPPED = "network."  # what a part puts before the names of a network's modules

_LAYERS = (nn.Linear, nn.Conv2d)
_NORMS = (RMSNormNode, LayerNormNode, RMSNorm, LayerNorm, nn.GroupNorm, nn.LayerNorm)


class Precision(StrEnum):
    """What the greater part of a graph computes in."""

    FP32 = "fp32"
    FP16 = "fp16"


_WHY = MappingProxyType(
    {
        "time": "sinusoids of up to 1000 radians, and an embedding that every block reads",
        "*.wo": "T5's states grow past the range of float16 here",
    }
)


@dataclass(frozen=True, slots=True)
class Islands:
    """Modules that stay float32 under FP16, beside all norms.

    Attributes:
        why: the reason, by a pattern of module names such as "stages.*.head.conv"; what lies in a
            module that matches belongs to it. Names are those within the network.
    """

    why: Mapping[str, str] = field(default_factory=lambda: _WHY)

    def covers(self, name: str) -> bool:
        """Whether the module of this name, or one around it, is an island."""
        places = name.removeprefix(WRAPPED).split(".")
        around = [".".join(places[: depth + 1]) for depth in range(len(places))]
        return any(fnmatchcase(place, pattern) for place in around for pattern in self.why)


class WideGroupNorm(nn.GroupNorm):
    """A group norm in float32 that keeps the type of what it normalises."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...)."""
        return super().forward(input.float()).to(input.dtype)


class WideLayerNorm(nn.LayerNorm):
    """A layer norm in float32 that keeps the type of what it normalises."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (..., C)."""
        return super().forward(input.float()).to(input.dtype)


def narrow(network: nn.Module, islands: Islands) -> None:
    """Turn a network to float16 around its islands, in place; its tensors are replaced.

    Args:
        network: its parameters and buffers may be shared with another one, which stays as it is.
        islands: what stays float32.
    """
    _widen_norms(network)
    halves: dict[int, Tensor] = {}
    for name, module in network.named_modules():
        if not (islands.covers(name) or isinstance(module, _NORMS) or _in_norm(network, name)):
            _halve(module, halves)
        if isinstance(module, _LAYERS):
            module.register_forward_pre_hook(_as_weights)
    covered = {id(m) for name, m in network.named_modules() if islands.covers(name)}
    for blocks in blocks_in(network):
        for block in blocks:
            if id(block) not in covered:
                block.register_forward_pre_hook(_first_half)
    network.register_forward_hook(_all_float)


def _widen_norms(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.GroupNorm:
                wide: nn.Module = WideGroupNorm(
                    child.num_groups, child.num_channels, child.eps, affine=False
                )
            elif type(child) is nn.LayerNorm:
                wide = WideLayerNorm(child.normalized_shape, child.eps, elementwise_affine=False)
            else:
                continue
            wide.weight, wide.bias = child.weight, child.bias
            setattr(module, name, wide)


def _in_norm(network: nn.Module, name: str) -> bool:
    """Whether a module lies in a norm, as time-dependent parameters do."""
    return "." in name and isinstance(network.get_submodule(name.rpartition(".")[0]), _NORMS)


def _halve(module: nn.Module, halves: dict[int, Tensor]) -> None:
    """Replace the tensors that a module itself holds; one that is held twice stays one."""
    for name, tensor in [
        *module.named_parameters(recurse=False),
        *module.named_buffers(recurse=False),
    ]:
        if tensor.is_floating_point():
            half = halves.setdefault(id(tensor), tensor.detach().half())
            if isinstance(tensor, nn.Parameter):
                setattr(module, name, nn.Parameter(half, requires_grad=False))
            else:
                setattr(module, name, half)


def _as_weights(layer: nn.Linear | nn.Conv2d, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(arg.to(layer.weight.dtype) for arg in args)


def _first_half(_block: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (args[0].half(), *args[1:])


def _all_float(
    _network: nn.Module, _args: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    return tuple(output.float() for output in outputs)
