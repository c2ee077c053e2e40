"""What the device can do at all: a large copy, and products of large random matrices."""

from functools import partial

import torch

from tests.benchmarks.gpu.clock import timed
from tests.benchmarks.gpu.setting import Setting

COPY = "copy"
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def matmul(precision: str) -> str:
    """The ceiling of products in a precision."""
    return f"matmul {precision}"


def measure(setting: Setting) -> None:
    setting.attempt(COPY, lambda: _copy(setting))
    for precision, dtype in TYPES.items():
        setting.attempt(matmul(precision), partial(_product, setting, dtype))


def _copy(setting: Setting) -> dict[str, float]:
    """Bytes read and bytes written count."""
    size = setting.sizes.copy_bytes
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    taken = timed(setting, lambda: target.copy_(source))
    return {**taken, "bytes": 2 * size, "per_s": 2 * size / taken["median_s"]}


def _product(setting: Setting, dtype: torch.dtype) -> dict[str, float]:
    """On random data: zeros are faster."""
    side = setting.sizes.cube
    a, b = torch.randn(2, side, side, device=setting.device).to(dtype)
    out = torch.empty_like(a)
    taken = timed(setting, lambda: torch.mm(a, b, out=out))
    return {**taken, "flop": 2 * side**3, "per_s": 2 * side**3 / taken["median_s"]}
