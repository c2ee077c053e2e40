"""What computes the time-dependent norms of a network while it is trained.

Kernels are handed in by a program that knows them: this package knows none but PyTorch's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from model.specs.training import NormKernels


@dataclass(frozen=True, slots=True)
class Kernels:
    """What computes norms, and how a network gets it.

    Attributes:
        kind: on record with the run.
        open: whether they run on a device; returns what puts them into a network there, in place,
            whose parameters stay the same under the same names. Raises ValueError where they do
            not run, before anything is written.
    """

    kind: NormKernels
    open: Callable[[torch.device], Callable[[nn.Module], object]]


PYTORCH = Kernels(NormKernels.PYTORCH, lambda device: lambda network: network)
