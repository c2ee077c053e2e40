"""The one place where a run decides what it computes in.

Weights, their average and the optimiser's moments are float32 whatever is chosen. In bf16 and fp16
autocast picks the type of each operation; the norms take their statistics in float32 themselves.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from model.specs.training import Precision

LEAST_SCALE = 2.0**-10  # an fp16 run whose loss scale falls below this does not come back


class Arithmetic:
    """Autocast for the forward pass and, in fp16, a loss scale for the backward pass."""

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self._device = device.type
        self._dtype: torch.dtype | None = None
        match precision:
            case Precision.FP32:
                pass
            case Precision.BF16:
                self._dtype = torch.bfloat16
            case Precision.FP16:
                self._dtype = torch.float16
        self.scaler = torch.amp.GradScaler(
            device.type, init_scale=2.0**16, enabled=precision is Precision.FP16
        )

    def forward(self) -> AbstractContextManager[None]:
        """Run the network and the loss inside this."""
        context: AbstractContextManager[None] = torch.autocast(
            self._device, dtype=self._dtype or torch.bfloat16, enabled=self._dtype is not None
        )
        return context

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, times the scale, to those that are there."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's gap

    @property
    def may_overflow(self) -> bool:
        """Whether an infinite gradient is ordinary here: its step is left out, the scale halved."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= LEAST_SCALE

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Take the optimiser's step, unless fp16 overflowed; gradients are unscaled by then."""
        self.scaler.step(optimiser)
        self.scaler.update()
