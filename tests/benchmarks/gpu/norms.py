"""The Triton norms against torch: error from float32, time, and share of the copy's bandwidth.

Large cases are streamed from memory and launched one by one; those of a tick's size fit the cache,
are replayed from a graph, and have no bandwidth worth naming.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from model.layers.norm import TDLayerNorm, TDRMSNorm
from model.specs.networks import Norm
from tests.benchmarks.gpu.ceilings import COPY, TYPES
from tests.benchmarks.gpu.clock import recorded, timed, unlimited_recompiles
from tests.benchmarks.gpu.setting import Rows, Setting, described

ALLOWED = {"fp16": 2e-3, "bf16": 1.6e-2, "fp32": 1e-4}  # of the root mean square


class Wrong(ArithmeticError):
    """A kernel does not compute what torch computes."""


def measure_served(setting: Setting) -> None:
    """As a tick has them: what an engine gains."""
    for rows in setting.sizes.serving:
        for precision in setting.sizes.timed:
            name = f"{rows.name} {precision} in a graph"
            setting.attempt(name, partial(_served, setting, rows, precision))


def measure_streamed(setting: Setting) -> None:
    for precision in setting.sizes.timed:
        for rows in setting.sizes.streaming:
            name = f"{rows.name} {precision}"
            setting.attempt(name, partial(_streamed, setting, rows, precision))
    for precision in setting.sizes.checked:
        for rows in setting.sizes.streaming:
            name = f"{rows.name} {precision}"
            setting.attempt(name, partial(_checked, setting, rows, precision))


def measure_compiled(setting: Setting) -> None:
    """The forward pass by torch.compile, whose compilation takes longest, in one precision."""
    unlimited_recompiles()
    precision = setting.sizes.norms_compiled
    for rows in setting.sizes.streaming:
        name = f"{rows.name} {precision} by torch.compile"
        setting.attempt(name, partial(_compiled, setting, rows, precision))


class _Case:
    """A norm of each form with the same parameters, and fresh operands."""

    def __init__(self, setting: Setting, rows: Rows, precision: str) -> None:
        from export.kernels.td_norm import (
            KernelTDLayerNorm,
            KernelTDRMSNorm,
            add_td_layer_norm,
            add_td_rms_norm,
        )

        device, dtype = setting.device, TYPES[precision]
        self.limit = ALLOWED[precision]
        if rows.norm is Norm.TD_LAYERNORM:
            layer = TDLayerNorm(rows.width).to(device)
            self.torch: nn.Module = layer
            self.kernel: nn.Module = KernelTDLayerNorm(layer)
            self.add = lambda x, r, tau: add_td_layer_norm(x, r, tau, layer.weight, layer.bias)
        else:
            root = TDRMSNorm(rows.width).to(device)
            self.torch, self.kernel = root, KernelTDRMSNorm(root)
            self.add = lambda x, r, tau: add_td_rms_norm(x, r, tau, root.scale)
        with torch.no_grad():
            for parameter in self.torch.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        shape = (rows.samples, rows.tokens, rows.width)
        self.x, self.residual, self.dy = (
            (torch.randn(shape, device=device) + 0.1).to(dtype) for _ in range(3)
        )
        self.tau = torch.rand(rows.samples, device=device)

    @property
    def bytes(self) -> int:
        """Of one operand."""
        return self.x.numel() * self.x.element_size()

    def gradients(self, norm: nn.Module, x: Tensor, dy: Tensor) -> Sequence[Tensor]:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(norm(x, self.tau), (x, *norm.parameters()), dy)

    def errors(self) -> dict[str, float]:
        """Of outputs and gradients, from torch's in float32.

        Raises:
            Wrong: one is too large.
        """
        wide, dy = self.x.float(), self.dy.float()
        found = {"forward": self.forward_error()}
        with torch.no_grad():
            added, total = self.add(self.x, self.residual, self.tau)
            exact = self.torch((self.x + self.residual).float(), self.tau)
            found["added"] = _error(added, exact)
            found["sum"] = _error(total, wide + self.residual.float())
        del exact, added, total
        pairs = zip(
            self.gradients(self.kernel, self.x, self.dy),
            self.gradients(self.torch, wide, dy),
            strict=True,
        )
        found["backward"] = max(_error(ours, theirs) for ours, theirs in pairs)
        for name, error in found.items():
            self._check(name, error)
        return found

    def forward_error(self) -> float:
        """Of the outputs, from torch's in float32.

        Raises:
            Wrong: it is too large.
        """
        with torch.no_grad():
            poison = torch.full_like(self.x, float("nan"))
            del poison  # its memory is what the kernel is likely to be given for its output
            ours, exact = self.kernel(self.x, self.tau), self.torch(self.x.float(), self.tau)
        error = _error(ours, exact)
        self._check("forward", error)
        return error

    def _check(self, name: str, error: float) -> None:
        if not error <= self.limit:
            msg = f"{name}: error {error:.1e} of the root mean square; allowed: {self.limit}"
            raise Wrong(msg)


def _error(found: Tensor, exact: Tensor) -> float:
    distance, size = (found.float() - exact.float()).norm(), exact.float().norm()
    return float(distance / size)


def _checked(setting: Setting, rows: Rows, precision: str) -> dict[str, Any]:
    return {"errors": _Case(setting, rows, precision).errors()}


def _streamed(setting: Setting, rows: Rows, precision: str) -> dict[str, Any]:
    case = _Case(setting, rows, precision)
    out: dict[str, Any] = {"errors": case.errors()}
    forward: dict[str, Callable[..., Tensor]] = {"triton": case.kernel, "torch": case.torch}
    with torch.no_grad():
        out["forward"] = _compared(
            setting, {n: _called(f, case.x, case.tau) for n, f in forward.items()}, 2 * case.bytes
        )
        out["added"] = _compared(
            setting,
            {
                "triton": lambda: case.add(case.x, case.residual, case.tau),
                "torch": lambda: case.torch(case.x + case.residual, case.tau),
            },
            4 * case.bytes,
        )
    out["backward"] = _compared(
        setting,
        {"triton": _backward(case, case.kernel), "torch": _backward(case, case.torch)},
        3 * case.bytes,
    )
    return out


def _compiled(setting: Setting, rows: Rows, precision: str) -> dict[str, Any]:
    case = _Case(setting, rows, precision)
    backend = "eager" if setting.rehearsal else "inductor"
    compiled = torch.compile(case.torch, dynamic=False, backend=backend)
    with torch.no_grad():
        forms = {"torch.compile": _called(compiled, case.x, case.tau)}
        return {"forward": _compared(setting, forms, 2 * case.bytes)}


def _served(setting: Setting, rows: Rows, precision: str) -> dict[str, Any]:
    case = _Case(setting, rows, precision)
    out: dict[str, Any] = {"errors": {"forward": case.forward_error()}}
    with torch.inference_mode():
        forms = {
            name: recorded(setting, partial(_outputs, norm, case))
            for name, norm in (("triton", case.kernel), ("torch", case.torch))
        }
        out["forward"] = _compared(setting, forms, None)
    return out


def _outputs(norm: nn.Module, case: _Case) -> tuple[Tensor, ...]:
    return (norm(case.x, case.tau),)


def _called(norm: Callable[..., Tensor], *operands: Tensor) -> Callable[[], Tensor]:
    return lambda: norm(*operands)


def _backward(case: _Case, norm: nn.Module) -> Callable[[], object]:
    """The backward pass alone, again and again."""
    x = case.x.detach().requires_grad_()
    y, leaves = norm(x, case.tau), (x, *norm.parameters())
    return lambda: torch.autograd.grad(y, leaves, case.dy, retain_graph=True)


def _compared(
    setting: Setting, forms: Mapping[str, Callable[[], object]], least_bytes: int | None
) -> dict[str, Any]:
    """Times of each, and of copying's bandwidth what the fewest bytes that must move come to."""
    out: dict[str, Any] = {}
    for name, call in forms.items():
        try:
            out[name] = timed(setting, call)
        except Exception as error:  # a form that fails here leaves the others their figures
            out[name] = {"fault": described(error)}
            continue
        if least_bytes is not None:
            rate = least_bytes / out[name]["median_s"]
            out[name] |= {"bytes_per_s": rate, "of_copy": setting.share(COPY, rate)}
    if all("median_s" in out.get(name, {}) for name in ("torch", "triton")):
        out["torch_over_triton"] = out["torch"]["median_s"] / out["triton"]["median_s"]
    return out
