"""A network's time-dependent norms exchanged for kernels."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from export.kernels.td_norm import KernelTDLayerNorm, KernelTDRMSNorm
from model.layers.norm import TDLayerNorm, TDRMSNorm

KERNELS: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = MappingProxyType(
    {TDLayerNorm: KernelTDLayerNorm, TDRMSNorm: KernelTDRMSNorm}
)


def with_kernels(
    network: nn.Module, kernels: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = KERNELS
) -> nn.Module:
    """The network, in place, with a kernel for each norm of exactly these types.

    Parameters stay the same objects under the same names, so that optimisers, checkpoints and
    state dicts of either form fit the other.

    Args:
        network: is returned.
        kernels: by the type of a norm, what makes its kernel from it.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) in kernels:
                setattr(module, name, kernels[type(child)](child).train(child.training))
    return network
