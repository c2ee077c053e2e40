"""Calls of XL/2R by PyTorch: eager and compiled, in several precisions, with a CUDA graph and not.

A form's error is the root mean square of its difference from float32, over that of float32's.
Rates of work are those of the multiply-adds that `model.denoisers.counting` counts, two operations
each, and are put against products of large matrices in the same precision.
"""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from export.graph.nodes import LayerNormNode, RMSNormNode, norms_as_nodes
from export.graph.precision import Islands, narrow
from model.denoisers.build import Denoiser, blocks_of
from model.denoisers.counting import count_network
from tests.benchmarks.gpu.ceilings import TYPES, matmul
from tests.benchmarks.gpu.clock import recorded, timed, unlimited_recompiles
from tests.benchmarks.gpu.large import network_of, recipe_of
from tests.benchmarks.gpu.setting import Setting, described

Inputs = tuple[Tensor, Tensor, Tensor]
Call = Callable[[Inputs], Tensor]


class Form(NamedTuple):
    """A way to compute the network."""

    precision: str
    call: Call


def measure_eager(setting: Setting) -> None:
    network = network_of(setting)
    makers: dict[str, Callable[[], Form]] = {
        "eager fp32": lambda: Form("fp32", _plain(network)),
        "eager bf16": lambda: Form("bf16", _autocast(network, "bf16")),
        "eager fp16": lambda: Form("fp16", _autocast(network, "fp16")),
        "eager fp16, islands": lambda: Form("fp16", _plain(_islands(network))),
        "triton norms fp16, islands": lambda: Form("fp16", _plain(_fused(_islands(network)))),
    }
    _measure(setting, network, makers, setting.sizes.buckets)


def measure_compiled(setting: Setting) -> None:
    """Blocks are compiled one by one: those of a stage have one code, compiled once a shape."""
    unlimited_recompiles()
    network = network_of(setting)
    makers: dict[str, Callable[[], Form]] = {
        f"torch.compile {precision}": partial(_compiled_form, setting, network, precision)
        for precision in ("bf16", "fp16")
    }
    _measure(setting, network, makers, setting.sizes.compiled)


def _measure(
    setting: Setting,
    network: Denoiser,
    makers: dict[str, Callable[[], Form]],
    buckets: Sequence[int],
) -> None:
    macs = count_network(recipe_of(setting).network).macs
    setting.figures["flop_a_row"] = 2 * macs
    forms: dict[str, Form] = {}
    for name, make in makers.items():
        setting.attempt(name, partial(_made, forms, name, make))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        exact = _plain(network)(_inputs(setting, 2))
    for rows in buckets:
        for name, form in forms.items():
            setting.attempt(
                f"{name}, {rows} rows",
                partial(_figures, setting, form, rows, 2 * macs, exact),
            )


def _made(forms: dict[str, Form], name: str, make: Callable[[], Form]) -> str:
    """Make a form and keep it; its precision."""
    forms[name] = make()
    return forms[name].precision


def _compiled_form(setting: Setting, network: Denoiser, precision: str) -> Form:
    return Form(precision, _autocast(network, precision, _compiled(setting)))


@torch.inference_mode()
def _figures(setting: Setting, form: Form, rows: int, flop: int, exact: Tensor) -> dict[str, Any]:
    inputs = _inputs(setting, rows)
    out: dict[str, Any] = {"rows": rows, "precision": form.precision}
    if rows == len(exact):
        found = form.call(inputs).float()
        error = float((found - exact).norm() / exact.norm())
        if not math.isfinite(error):
            msg = "its prediction is not finite"
            raise ArithmeticError(msg)
        out["error"] = error
    calls: dict[str, Callable[[], Callable[[], object]]] = {
        "launched": lambda: lambda: form.call(inputs),
        "graph": lambda: recorded(setting, lambda: (form.call(inputs),)),
    }
    for name, make in calls.items():
        try:
            taken = timed(setting, make())
        except Exception as error:  # a form that cannot be captured has its other figure
            out[name] = {"fault": described(error)}
            continue
        rate = flop * rows / taken["median_s"]
        share = setting.share(matmul(form.precision), rate)
        out[name] = {**taken, "flop_per_s": rate, "utilisation": share}
    return out


def _inputs(setting: Setting, rows: int) -> Inputs:
    """Random x (B, C, d, d), t (B,) and y (B,), the first rows the same in any number of them."""
    spec: Any = recipe_of(setting).network
    generator = torch.Generator().manual_seed(0)
    most = max(setting.sizes.buckets)
    x = torch.randn(most, spec.channels, spec.size, spec.size, generator=generator)
    t = torch.rand(most, generator=generator)
    y = torch.randint(spec.classes, (most,), generator=generator)
    x, t, y = (v[:rows].to(setting.device) for v in (x, t, y))
    return x, t, y


def _plain(network: nn.Module) -> Call:
    @torch.inference_mode()
    def call(inputs: Inputs) -> Tensor:
        prediction: Tensor = network(*inputs)[-1]
        return prediction

    return call


def _autocast(
    network: nn.Module, precision: str, finish: Callable[[nn.Module], None] = lambda _: None
) -> Call:
    """With weights of products already in this type, so that no call casts them."""
    dtype = TYPES[precision]
    half = copy.deepcopy(network)
    for module in half.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)
    finish(half)
    device = next(half.parameters()).device.type
    plain = _plain(half)

    def call(inputs: Inputs) -> Tensor:
        with torch.autocast(device, dtype=dtype):
            return plain(inputs)

    return call


def _islands(network: Denoiser) -> nn.Module:
    """In float16 around its islands, as the engines have it, with norms of torch."""
    half: nn.Module = norms_as_nodes(network)
    narrow(half, Islands())
    return half


def _fused(network: nn.Module) -> nn.Module:
    from export.kernels.swap import with_kernels
    from export.kernels.td_norm import KernelTDLayerNorm, KernelTDRMSNorm

    return with_kernels(network, {LayerNormNode: KernelTDLayerNorm, RMSNormNode: KernelTDRMSNorm})


def _compiled(setting: Setting) -> Callable[[nn.Module], None]:
    backend = "eager" if setting.rehearsal else "inductor"

    def finish(network: Any) -> None:
        for block in blocks_of(network):
            block.compile(dynamic=False, backend=backend)

    return finish
