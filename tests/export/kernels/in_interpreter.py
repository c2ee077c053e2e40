"""Runs kernels in Triton's interpreter: python in_interpreter.py CASES RESULTS.

A process of its own, as the interpreter is chosen when Triton is imported. CASES is a file of
torch.save, a list of dictionaries with a "call"; RESULTS becomes the list of what they returned,
or of the errors they were refused with.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch

from export.kernels.swap import with_kernels
from export.kernels.td_norm import (
    KernelTDLayerNorm,
    KernelTDRMSNorm,
    add_td_layer_norm,
    add_td_rms_norm,
)
from export.kernels.update import SlotStates, update
from model.denoisers.dimr import DiMR
from model.layers.norm import TDLayerNorm, TDRMSNorm
from model.specs.networks import Norm


def normalise(norm, width, state, x, residual, tau, dy, dtotal) -> Any:
    """The outputs of a norm, and its gradients."""
    module: Any = (TDLayerNorm if norm == Norm.TD_LAYERNORM else TDRMSNorm)(width)
    module.load_state_dict(state)
    outputs: tuple[torch.Tensor, ...]
    grads: tuple[torch.Tensor, ...]
    leaves = [v.requires_grad_() for v in (x, tau, residual) if v is not None]
    parameters = module.parameters()
    if residual is None:
        kernel = KernelTDLayerNorm if norm == Norm.TD_LAYERNORM else KernelTDRMSNorm
        outputs, grads = (kernel(module)(x, tau),), (dy,)
    elif norm == Norm.TD_LAYERNORM:
        outputs = add_td_layer_norm(x, residual, tau, module.weight, module.bias)
        grads = (dy, dtotal)
    else:
        outputs = add_td_rms_norm(x, residual, tau, module.scale)
        grads = (dy, dtotal)
    gradients = torch.autograd.grad(outputs, (*leaves, *parameters), grads)
    return [v.detach() for v in outputs], list(gradients)


def advance(states, limits, **operands):
    """The states after a tick."""
    kept = SlotStates(*states)
    update(kept, limits=tuple(limits), **operands)
    return list(states)


def denoise(spec, state, x, t, y):
    """The prediction of a network with kernels, and the gradients that its parameters get."""
    network = DiMR(spec)
    network.load_state_dict(state)
    prediction = with_kernels(network)(x, t, y)[-1]
    prediction.square().sum().backward()
    return prediction.detach(), {n: p.grad for n, p in network.named_parameters()}


CALLS: dict[str, Any] = {"normalise": normalise, "advance": advance, "denoise": denoise}


def main(cases: Path, results: Path) -> None:
    """Run every case."""
    out = []
    for case in torch.load(cases, weights_only=False):
        call = CALLS[case.pop("call")]
        try:
            out.append(call(**case))
        except ValueError as refused:
            out.append(f"{type(refused).__name__}: {refused}")
    torch.save(out, results)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
