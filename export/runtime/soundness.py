"""Whether bound calls predict what the bundle's own network does: one look at each, at start.

It costs a call of each, which binds it, and two rows of PyTorch in float32 for each part.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from export.graph.parts import Part
from export.runtime.closeness import close
from export.runtime.trajectory import Tensors

STATE_AXES = 4  # (B, C, d, d)


@torch.inference_mode()
def unsound(
    calls: Sequence[Callable[..., Tensors]],
    parts: Sequence[Part],
    buckets: Sequence[int],
    device: torch.device,
) -> str | None:
    """The first call that answers unlike PyTorch, None if there is none.

    Every row of a call is unlike the others. The largest call of a part goes first, as it needs
    most memory; the ends of it are compared with PyTorch's rows, and its last rows with those of
    the smaller calls.

    Args:
        calls: of each part, bound.
        parts: on whatever device, in float32.
        buckets: row counts, of each part.
        device: where the calls are.

    Raises:
        PlanFault: a library refuses a call.
    """
    smaller = sorted(buckets, reverse=True)
    most = smaller.pop(0)
    ends = sorted({0, most - 1})
    for call, part in zip(calls, parts, strict=True):
        given = _unlike_rows(part, most)
        sent = tuple(value.to(device) for value in given)
        whole = call(*sent)
        where = next(part.module.parameters()).device
        exact = part.module(*(value[ends].to(where) for value in given))
        if not close([answer[ends] for answer in whole], exact):
            return f"{part.name} of {most} rows"
        for rows in smaller:
            first = most - rows
            if not close(
                call(*(value[first:] for value in sent)), [answer[first:] for answer in whole]
            ):
                return f"{part.name} of {rows} rows"
    return None


def _unlike_rows(part: Part, rows: int) -> Tensors:
    """Noise at all times, and the rest of the example's rows in turn."""
    generator = torch.Generator().manual_seed(0)
    turns = torch.arange(rows)

    def like(example: Tensor) -> Tensor:
        if example.ndim == STATE_AXES:
            return torch.randn(rows, *example.shape[1:], generator=generator)
        if example.is_floating_point() and example.ndim == 1:
            return torch.linspace(0.1, 0.9, rows)
        return example[turns % len(example)]

    return tuple(like(example) for example in part.inputs.values())
