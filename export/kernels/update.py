"""The solver update of a tick as one kernel: guidance, data prediction, clamp, affine map, history.

Equal, to the bit, to `guided`, `noise_from_velocity`, `data_from_noise`, a clamp and `advance` of
`model`, done for the slots of an index vector in place: operations stand in the same order, each
rounded by itself (no contraction), division as IEEE has it. Only the noise of a velocity may differ
in the last place, where the engine evaluates a schedule and this kernel reads the solver table.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from export.kernels.errors import DeviceUnfit, OperandsUnfit
from export.kernels.library import Number, Pointer, interpreted, jit, on_device_of, tl
from model.specs.process import Prediction

COLUMNS = (
    9  # of a table row: t, alpha, sigma, guidance, c_x, c_0, c_1, c_2, whether the anchor moves
)
HISTORY = 2
BLOCK = 1024
UNLIMITED = (-math.inf, math.inf)


@jit
def tick_update(  # noqa: PLR0913, PLR0917 - the operands of one launch
    prediction: Pointer,
    unconditional: Pointer,
    slots: Pointer,
    columns: Pointer,
    stride: Number,
    low: Number,
    high: Number,
    elements: Number,
    capacity: Number,
    x: Pointer,
    anchor: Pointer,
    history: Pointer,
    VELOCITY: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One sample a program of axis 0, BLOCK of its elements a program of axis 1."""
    sample = tl.program_id(0)
    slot = tl.load(slots + sample).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    kept = (at < elements) & (slot >= 0)  # a negative slot is padding

    row = columns + sample.to(tl.int64) * stride
    alpha = tl.load(row + 1)
    sigma = tl.load(row + 2)
    guidance = tl.load(row + 3)

    here = slot * elements + at
    state = tl.load(x + here, mask=kept, other=0.0)
    first = tl.load(prediction + sample.to(tl.int64) * elements + at, mask=kept, other=0.0)
    noise = first.to(tl.float32)
    zeros = tl.zeros((BLOCK,), tl.float32)
    twice = zeros + guidance != 1.0  # a block, as the interpreter keeps no type of a scalar's
    other = tl.load(unconditional + sample).to(tl.int64) * elements + at
    second = tl.load(prediction + other, mask=kept & twice, other=0.0).to(tl.float32)
    if VELOCITY:
        noise = sigma * state + alpha * noise
        second = sigma * state + alpha * second
    noise = tl.where(twice, noise + (guidance - 1.0) * (noise - second), noise)

    m = tl.div_rn(state - sigma * noise, alpha)
    m = tl.clamp(m, low, high, propagate_nan=tl.PropagateNan.ALL)

    older = history + tl.cast(capacity, tl.int64) * elements  # a capacity of 1 is a constant
    m_1 = tl.load(history + here, mask=kept, other=0.0)
    m_2 = tl.load(older + here, mask=kept, other=0.0)
    start = tl.load(anchor + here, mask=kept, other=0.0)
    after = tl.load(row + 4) * start + tl.load(row + 5) * m
    after = after + tl.load(row + 6) * m_1
    after = after + tl.load(row + 7) * m_2
    tl.store(x + here, after, mask=kept)
    tl.store(anchor + here, after, mask=kept & (zeros + tl.load(row + 8) != 0.0))
    tl.store(history + here, m, mask=kept)
    tl.store(older + here, m_1, mask=kept)


@dataclass(frozen=True, slots=True)
class SlotStates:
    """What one scale keeps of every slot, float32, contiguous.

    Attributes:
        x: (capacity, C, d, d) states at which the network is called.
        anchor: (capacity, C, d, d) states from which the current steps depart.
        history: (2, capacity, C, d, d) data predictions of the last call and the one before.
    """

    x: Tensor
    anchor: Tensor
    history: Tensor

    def __post_init__(self) -> None:
        shapes = {
            "x": tuple(self.x.shape),
            "anchor": tuple(self.x.shape),
            "history": (HISTORY, *self.x.shape),
        }
        for name, shape in shapes.items():
            tensor = getattr(self, name)
            if tensor.shape != shape or tensor.dtype != torch.float32 or not tensor.is_contiguous():
                got = f"{tuple(tensor.shape)} {tensor.dtype}, strides {tensor.stride()}"
                raise OperandsUnfit(name, got, f"{shape} torch.float32, contiguous")


def update(
    states: SlotStates,
    prediction: Tensor,
    *,
    slots: Tensor,
    unconditional: Tensor,
    columns: Tensor,
    kind: Prediction,
    limits: tuple[float, float] = UNLIMITED,
) -> None:
    """Take slots through the table rows that are theirs, in place, by one launch.

    Args:
        states: of all slots.
        prediction: (R, C, d, d) of the network, any float type: first a conditional row for each
            of B samples, then unconditional rows and padding in any order.
        slots: (B,) integers; a slot at most once, a negative one for a sample that is padding.
        unconditional: (B,) integers; row of `prediction` with the unconditional half of a sample,
            not read where guidance is exactly 1.
        columns: (B, 9) float32, unit stride along the row: t, alpha, sigma, guidance, c_x, c_0,
            c_1, c_2, and whether the anchor moves.
        kind: what the network predicts.
        limits: data predictions are clamped to these.

    Raises:
        DeviceUnfit: the states lie where the kernel cannot run.
        OperandsUnfit: shapes or types do not fit each other.
    """
    _check(states, prediction, slots, unconditional, columns)
    samples, elements = len(slots), states.x[0].numel()
    if not samples:
        return
    with on_device_of(states.x):
        tick_update[samples, -(-elements // BLOCK)](
            *(prediction.contiguous(), unconditional, slots, columns, columns.stride(0)),
            *(*limits, elements, len(states.x), states.x, states.anchor, states.history),
            VELOCITY=kind is Prediction.VELOCITY,
            BLOCK=BLOCK,
            enable_fp_fusion=False,
        )


def _check(
    states: SlotStates, prediction: Tensor, slots: Tensor, unconditional: Tensor, columns: Tensor
) -> None:
    if states.x.device.type != "cuda" and not interpreted(tick_update):
        raise DeviceUnfit(str(states.x.device))
    samples = len(slots)
    if prediction.shape[1:] != states.x.shape[1:] or len(prediction) < samples:
        allowed = f"at least {samples} rows of {tuple(states.x.shape[1:])}"
        raise OperandsUnfit("prediction: shape", tuple(prediction.shape), allowed)
    if columns.shape != (samples, COLUMNS) or columns.dtype != torch.float32:
        got = f"{tuple(columns.shape)} {columns.dtype}"
        raise OperandsUnfit("columns", got, f"({samples}, {COLUMNS}) torch.float32")
    if columns.stride(1) != 1:
        raise OperandsUnfit("columns: stride along the row", columns.stride(1), "1")
    for name, index in (("slots", slots), ("unconditional", unconditional)):
        if index.shape != (samples,) or index.is_floating_point() or not index.is_contiguous():
            got = f"{tuple(index.shape)} {index.dtype}, strides {index.stride()}"
            raise OperandsUnfit(name, got, f"({samples},) integers, contiguous")
