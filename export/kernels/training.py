"""dimr-train with Triton's kernels: `python -m export.kernels.training`, its arguments and runs."""

import sys
from collections.abc import Callable, Sequence
from subprocess import SubprocessError

import torch
from torch import nn

from export.kernels.errors import TrainingUnfit, TritonAbsent
from model.layers.norm import TDLayerNorm, TDRMSNorm
from model.specs.training import NormKernels
from model.training.__main__ import main as train
from model.training.kernels import Kernels


def opened(device: torch.device) -> Callable[[nn.Module], nn.Module]:
    """What puts the kernels into a network on a device, on which one of them has just run.

    Raises:
        TrainingUnfit: they do not run there.
    """
    try:
        from export.kernels.td_norm import KernelTDRMSNorm

        norm = KernelTDRMSNorm(TDRMSNorm(16).to(device))
        norm(torch.ones(1, 16, device=device), torch.ones(1, device=device))
    except (TritonAbsent, ValueError, RuntimeError, OSError, SubprocessError) as error:
        place = f"device '{device}'"
        reason = " ".join(str(error).split())  # of a C compiler that is missing, a dozen lines
        raise TrainingUnfit(place, reason) from error
    return put


def put(network: nn.Module) -> nn.Module:
    """The network, in place, with kernels.

    Raises:
        TrainingUnfit: it has no norm that they are for.
    """
    from export.kernels.swap import with_kernels

    if not any(isinstance(module, TDLayerNorm | TDRMSNorm) for module in network.modules()):
        raise TrainingUnfit("this network", "it has no time-dependent norm")
    return with_kernels(network)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return train(argv, kernels=Kernels(NormKernels.TRITON, opened))


if __name__ == "__main__":
    sys.exit(main())
