"""TD-LN and TD-RMSNorm as one Triton kernel each way, for training and the PyTorch GPU engine.

What they compute is defined by `model.layers.norm`; statistics and sums are float32, and nothing is
added atomically, so gradients are the same in every run. A residual can be added on the way: the
sum is rounded once to the type of x, stored, and normalised, as if it had been taken before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from export.kernels.errors import DeviceUnfit, OperandsUnfit
from export.kernels.library import Kernel, interpreted, on_device_of
from export.kernels.norm_device import td_norm_long, td_norm_whole
from export.kernels.norm_gradients import (
    parameter_gradients,
    td_norm_backward_long,
    td_norm_backward_whole,
)
from export.kernels.tiles import CHANNELS, SAMPLES, Tile, tile_for
from model.layers.norm import (
    LAYER_NORM_EPS,
    RMS_EPS,
    TDLayerNorm,
    TDRMSNorm,
    TimeDependentParameter,
)

DTYPES = (torch.float16, torch.bfloat16, torch.float32)

Vectors = tuple[Tensor, ...]


def td_layer_norm(
    x: Tensor, tau: Tensor, weight: TimeDependentParameter, bias: TimeDependentParameter
) -> Tensor:
    """TD-LN of x (B, ..., C) at times tau (B,); dtype and shape of x are kept.

    Raises:
        DeviceUnfit: x lies where the kernel cannot run.
        OperandsUnfit: shapes or types do not fit each other.
    """
    return _normalised(x, tau, _vectors(weight), _vectors(bias))


def td_rms_norm(x: Tensor, tau: Tensor, scale: TimeDependentParameter) -> Tensor:
    """TD-RMSNorm of x (B, ..., C) at times tau (B,); errors as of `td_layer_norm`."""
    return _normalised(x, tau, _vectors(scale), ())


def add_td_layer_norm(
    x: Tensor,
    residual: Tensor,
    tau: Tensor,
    weight: TimeDependentParameter,
    bias: TimeDependentParameter,
) -> tuple[Tensor, Tensor]:
    """TD-LN of x + residual, and the sum itself, (B, ..., C) each; errors as of `td_layer_norm`."""
    return _added(x, residual, tau, _vectors(weight), _vectors(bias))


def add_td_rms_norm(
    x: Tensor, residual: Tensor, tau: Tensor, scale: TimeDependentParameter
) -> tuple[Tensor, Tensor]:
    """TD-RMSNorm of x + residual, and the sum, (B, ..., C) each; errors as of `td_layer_norm`."""
    return _added(x, residual, tau, _vectors(scale), ())


class KernelTDLayerNorm(TDLayerNorm):
    """A TD-LN that shares the parameters of another and runs as one kernel."""

    def __init__(self, norm: TDLayerNorm) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Normalise x (B, ..., C) at times tau (B,); dtype and shape of x are kept."""
        return td_layer_norm(x, tau, self.weight, self.bias)


class KernelTDRMSNorm(TDRMSNorm):
    """A TD-RMSNorm that shares the parameters of another and runs as one kernel."""

    def __init__(self, norm: TDRMSNorm) -> None:
        nn.Module.__init__(self)
        self.scale = norm.scale

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Normalise x (B, ..., C) at times tau (B,); dtype and shape of x are kept."""
        return td_rms_norm(x, tau, self.scale)


def _vectors(parameter: TimeDependentParameter) -> Vectors:
    return parameter.first, parameter.second, parameter.slope, parameter.offset


def _normalised(x: Tensor, tau: Tensor, weight: Vectors, bias: Vectors) -> Tensor:
    _check(x, None, tau, (*weight, *bias))
    return cast("Tensor", _TDNorm.apply(x, tau, None, *weight, *bias))  # type: ignore[no-untyped-call]


def _added(
    x: Tensor, residual: Tensor, tau: Tensor, weight: Vectors, bias: Vectors
) -> tuple[Tensor, Tensor]:
    _check(x, residual, tau, (*weight, *bias))
    out = _TDNorm.apply(x, tau, residual, *weight, *bias)  # type: ignore[no-untyped-call]
    return cast("tuple[Tensor, Tensor]", out)


def _check(x: Tensor, residual: Tensor | None, tau: Tensor, vectors: Vectors) -> None:
    if x.device.type != "cuda" and not interpreted(td_norm_whole):
        raise DeviceUnfit(str(x.device))
    if x.dtype not in DTYPES:
        raise OperandsUnfit("x: dtype", x.dtype, allowed=", ".join(map(str, DTYPES)))
    if x.ndim < 2:
        raise OperandsUnfit("x: shape", tuple(x.shape), allowed="(B, ..., C)")
    if tau.shape != x.shape[:1]:
        raise OperandsUnfit("tau: shape", tuple(tau.shape), allowed=f"({x.shape[0]},), one a row")
    if residual is not None and (residual.shape, residual.dtype) != (x.shape, x.dtype):
        raise OperandsUnfit(
            "residual", f"{tuple(residual.shape)} {residual.dtype}", f"{tuple(x.shape)} {x.dtype}"
        )
    for vector in vectors:
        if vector.shape != x.shape[-1:] or not vector.is_contiguous():
            got = f"{tuple(vector.shape)}, strides {vector.stride()}"
            raise OperandsUnfit("parameters: shape", got, f"({x.shape[-1]},), contiguous")


@dataclass(frozen=True, slots=True)
class _Operands:
    """What both directions are launched with, contiguous.

    Attributes:
        rows: (B, ..., C), the input or the sum that was normalised.
        tau: (B,).
        weight: the four vectors of a parameter (C,).
        bias: likewise, or none of them: TD-RMSNorm.
    """

    rows: Tensor
    tau: Tensor
    weight: Vectors
    bias: Vectors

    @property
    def tile(self) -> Tile:
        return tile_for(self.rows.shape[-1])

    @property
    def rows_per_sample(self) -> int:
        """1 for rows (B, C)."""
        return self.rows[0].numel() // self.rows.shape[-1] if len(self.rows) else 0

    @property
    def eps(self) -> float:
        return LAYER_NORM_EPS if self.bias else RMS_EPS

    def forward(self, residual: Tensor | None, y: Tensor, total: Tensor | None) -> None:
        """Write y, and the sum if there is a residual."""
        tile = self.tile
        _launch(
            td_norm_whole if tile.whole else td_norm_long,
            len(self.rows) * tile.tiles(self.rows_per_sample),
            self.rows,
            *(self.tau, *self.weight, *(self.bias or (None,) * 4), residual),
            *(self.rows_per_sample, self.rows.shape[-1], y, total),
            EPS=self.eps,
            ROWS=tile.rows,
            BLOCK=tile.block,
            num_warps=tile.warps,
        )

    def backward(self, dy: Tensor, dtotal: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Gradient of the rows, and (B, C) of the weight and, if there is one, of the bias."""
        tile, (samples, width) = self.tile, (len(self.rows), self.rows.shape[-1])
        groups = -(-tile.tiles(self.rows_per_sample) // tile.tiles_a_program)
        dx = torch.empty_like(self.rows)
        sums = [
            torch.empty(samples, groups, width, device=dx.device)
            for vectors in (self.weight, self.bias)
            if vectors
        ]
        dweight, dbias = sums[0], (sums[1] if self.bias else None)
        _launch(
            td_norm_backward_whole if tile.whole else td_norm_backward_long,
            samples * groups,
            self.rows,
            *(dy, dtotal, self.tau, *self.weight, self.bias[0] if self.bias else None),
            *(self.rows_per_sample, width, dx, dweight, dbias),
            EPS=self.eps,
            ROWS=tile.rows,
            TILES=tile.tiles_a_program,
            BLOCK=tile.block,
            num_warps=tile.warps,
        )
        return dx, [part.sum(1) for part in sums]


class _TDNorm(torch.autograd.Function):
    """(x, tau, residual or None, four vectors of the weight, four of the bias or none)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context takes any attribute
        x: Tensor,
        tau: Tensor,
        residual: Tensor | None,
        *vectors: Tensor,
    ) -> Tensor | tuple[Tensor, Tensor]:
        x, tau = x.contiguous(), tau.contiguous()
        operands = _Operands(x, tau, vectors[:4], vectors[4:])
        ctx.set_materialize_grads(False)
        y = torch.empty_like(x)
        if residual is None:
            operands.forward(None, y, None)
            ctx.save_for_backward(x, tau, *vectors)
            return y
        total = torch.empty_like(x)
        operands.forward(residual.contiguous(), y, total)
        ctx.save_for_backward(total, tau, *vectors)
        return y, total

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401 - torch's context takes any attribute
        dy: Tensor | None,
        dtotal: Tensor | None = None,
    ) -> tuple[Tensor | None, ...]:
        rows, tau, *vectors = ctx.saved_tensors
        operands = _Operands(rows, tau, tuple(vectors[:4]), tuple(vectors[4:]))
        dy = torch.zeros_like(rows) if dy is None else dy.contiguous()
        dx, dvalues = operands.backward(dy, None if dtotal is None else dtotal.contiguous())
        dtau = torch.zeros(len(tau), device=tau.device)
        dvectors: list[Tensor] = []
        for dvalue, ends in zip(dvalues, (operands.weight, operands.bias), strict=False):
            dends, part = _of_parameter(dvalue, tau, ends)
            dvectors += dends
            dtau += part
        dresidual = dx if ctx.needs_input_grad[2] else None
        return dx, dtau.to(tau.dtype), dresidual, *dvectors


def _of_parameter(dvalue: Tensor, tau: Tensor, ends: Sequence[Tensor]) -> tuple[Vectors, Tensor]:
    """Gradients of the vectors and of tau, given that of the value (B, C) at tau (B,)."""
    samples, width = dvalue.shape
    programs = -(-width // CHANNELS)
    dends = tuple(torch.empty_like(end) for end in ends)
    dtau = torch.empty(programs, samples, device=tau.device)
    _launch(
        parameter_gradients,
        programs,
        *(dvalue, tau, *ends),
        samples,
        width,
        *(*dends, dtau),
        SAMPLES=SAMPLES,
        BLOCK=CHANNELS,
    )
    return dends, dtau.sum(0)


def _launch(
    kernel: Kernel,
    programs: int,
    first: Tensor,
    *others: Tensor | int | None,
    **options: float,
) -> None:
    """Run so many programs on the device of the first operand; none of an empty batch."""
    if programs:
        with on_device_of(first):
            kernel[programs,](first, *others, **options)
