"""The fused update of a tick against torch's: equal bits, time, share of the copy's bandwidth."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from export.runtime.accelerated import fused_update
from export.runtime.trajectory import Scale, Ticked, Update, update_scale
from model.specs.process import CodecSpec, LatentsSpec, PixelsSpec
from tests.benchmarks.gpu.ceilings import COPY
from tests.benchmarks.gpu.clock import recorded, timed
from tests.benchmarks.gpu.norms import Wrong
from tests.benchmarks.gpu.setting import Setting

BYTES = 4 * 10  # an element: both predictions, x, anchor, two of history; all but the first written
CODECS: dict[str, CodecSpec] = {"pixels": PixelsSpec(), "latents": LatentsSpec()}


def measure_served(setting: Setting) -> None:
    _, few = setting.sizes.states
    setting.attempt(f"update of {few} in a graph", lambda: _served(setting, few))


def measure_streamed(setting: Setting) -> None:
    many, _ = setting.sizes.states
    for codec in CODECS:
        setting.attempt(f"update of {many} {codec}", partial(_streamed, setting, many, codec))


def _threshold(codec: str) -> Any:
    return (lambda m: m.clamp(-1, 1)) if codec == "pixels" else (lambda m: m)


def _states(setting: Setting, slots: int) -> tuple[Scale, Ticked]:
    """Random states in every slot, in an order of their own, all guided."""
    device, shape = setting.device, setting.sizes.state
    scale = Scale.of(slots, shape, device)
    for kept in (scale.x, scale.anchor, scale.history):
        kept.normal_()
    angle = 0.2 + 1.1 * torch.rand(slots, device=device)
    others = 0.3 * torch.rand(slots, 4, device=device)
    ones = torch.ones(slots, 1, device=device)
    columns = torch.stack((angle, angle.cos(), angle.sin(), 1 + angle), dim=1)
    rows = torch.cat((columns, others, ones), dim=1)
    index, twice = torch.randperm(slots, device=device), torch.arange(slots, device=device)
    return scale, Ticked(index, twice, rows, torch.randn(2 * slots, *shape, device=device))


def _after(update: Update, scale: Scale, ticked: Ticked, codec: str) -> list[Tensor]:
    copy = Scale(scale.x.clone(), scale.anchor.clone(), scale.history.clone())
    update(copy, ticked, _threshold(codec))
    return [copy.x, copy.anchor, copy.history]


def _streamed(setting: Setting, slots: int, codec: str) -> dict[str, Any]:
    fused = fused_update(CODECS[codec])
    scale, ticked = _states(setting, slots)
    pairs = list(
        zip(
            _after(fused, scale, ticked, codec),
            _after(update_scale, scale, ticked, codec),
            strict=True,
        )
    )
    apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
    if not apart <= 1e-5:
        msg = f"update: states differ by {apart:.1e} of the largest from torch's; allowed: 1e-5"
        raise Wrong(msg)
    least_bytes = BYTES * scale.x.numel()
    out: dict[str, Any] = {
        "errors": {"largest": apart, "equal_bits": all(torch.equal(a, b) for a, b in pairs)}
    }
    for name, update in (("triton", fused), ("torch", update_scale)):
        taken = timed(setting, partial(update, scale, ticked, _threshold(codec)))
        rate = least_bytes / taken["median_s"]
        out[name] = {**taken, "bytes_per_s": rate, "of_copy": setting.share(COPY, rate)}
    out["torch_over_triton"] = out["torch"]["median_s"] / out["triton"]["median_s"]
    return out


def _served(setting: Setting, slots: int) -> dict[str, Any]:
    scale, ticked = _states(setting, slots)
    out: dict[str, Any] = {}
    for name, update in (("triton", fused_update(CODECS["latents"])), ("torch", update_scale)):

        def run(update: Update = update) -> tuple[Tensor, ...]:
            update(scale, ticked, _threshold("latents"))
            return (scale.x,)

        with torch.inference_mode():
            out[name] = timed(setting, recorded(setting, run))
    out["torch_over_triton"] = out["torch"]["median_s"] / out["triton"]["median_s"]
    return out
