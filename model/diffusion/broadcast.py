"""One number per sample, shaped and rounded so that it multiplies a batch of arrays."""

from torch import Tensor


def per_sample(values: Tensor, batch: Tensor) -> Tensor:
    """View `values` (B,) as (B, 1, ..., 1), with as many axes as `batch` (B, ...) and its dtype.

    The dtype is part of the contract: a float64 coefficient is rounded once and never lifts a
    float32 batch to float64.
    """
    return values.to(batch.dtype).reshape(-1, *(1,) * (batch.ndim - 1))
