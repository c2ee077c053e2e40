"""Device code of the gradients of TD-LN and TD-RMSNorm.

With u the normalised row, w its weight, g the gradient of y and n = w g, rows are given back
    TD-LN:       dx = (n - mean(n) - u mean(n u)) / root
    TD-RMSNorm:  dx = n / root - u mean(n u) / rms,     root = rms + eps
Gradients of weight and bias at a sample's time are sums over its rows: each program sums its own
rows and stores that, `parameter_gradients` takes the sums of all on to the parameters. Nothing is
added atomically, so equal inputs give equal bits.
"""

from export.kernels.library import Number, Pointer, jit, tl
from export.kernels.norm_device import root_of, starts_of, statistics_of, value_of


@jit
def input_gradient_of(
    n: Number,
    unit: Number,
    mean_n: Number,
    mean_nu: Number,
    root: Number,
    b_first: Pointer,
    EPS: tl.constexpr,
) -> Number:
    """Dx of rows, after the equations above."""
    if b_first is not None:
        dx = (n - mean_n[:, None] - unit * mean_nu[:, None]) * (1.0 / root)[:, None]
    else:
        rms = root - EPS
        slant = tl.where(rms > 0, mean_nu / tl.where(rms > 0, rms, 1.0), 0.0)
        dx = n * (1.0 / root)[:, None] - unit * slant[:, None]
    return dx


@jit
def td_norm_backward_whole(  # noqa: PLR0913, PLR0917 - the operands of one launch
    x: Pointer,
    dy: Pointer,
    dtotal: Pointer,
    tau: Pointer,
    w_first: Pointer,
    w_second: Pointer,
    w_slope: Pointer,
    w_offset: Pointer,
    b_first: Pointer,
    rows_per_sample: Number,
    width: Number,
    dx: Pointer,
    dweight: Pointer,
    dbias: Pointer,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Gradient of TILES tiles of whole rows; (programs, width) sums for weight and bias."""
    groups = tl.cdiv(rows_per_sample, ROWS * TILES)
    sample = tl.program_id(0) // groups
    group = tl.program_id(0) % groups
    at = tl.arange(0, BLOCK)
    kept = at < width
    time = tl.load(tau + sample).to(tl.float32)
    weight = value_of(time, w_first, w_second, w_slope, w_offset, at, kept)
    weight_sum = tl.zeros((BLOCK,), tl.float32)
    bias_sum = tl.zeros((BLOCK,), tl.float32)
    for tile in range(TILES):
        rows = (group * TILES + tile) * ROWS + tl.arange(0, ROWS)
        inside = (rows < rows_per_sample)[:, None] & kept[None, :]
        place = starts_of(sample, rows, rows_per_sample, width)[:, None] + at[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        grad = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
        n = grad * weight[None, :]
        mean_n = tl.sum(n, 1) / width
        if b_first is not None:
            mean = tl.sum(value, 1) / width
            value = tl.where(inside, value - mean[:, None], 0.0)
            bias_sum += tl.sum(grad, 0)
        root = root_of(tl.sum(value * value, 1) / width, b_first, EPS)
        unit = value * (1.0 / root)[:, None]
        weight_sum += tl.sum(grad * unit, 0)
        out = input_gradient_of(n, unit, mean_n, tl.sum(n * unit, 1) / width, root, b_first, EPS)
        if dtotal is not None:
            out += tl.load(dtotal + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx + place, out.to(dx.dtype.element_ty), mask=inside)
    sums = tl.program_id(0).to(tl.int64) * width + at
    tl.store(dweight + sums, weight_sum, mask=kept)
    if b_first is not None:
        tl.store(dbias + sums, bias_sum, mask=kept)


@jit
def td_norm_backward_long(  # noqa: PLR0913, PLR0917 - the operands of one launch
    x: Pointer,
    dy: Pointer,
    dtotal: Pointer,
    tau: Pointer,
    w_first: Pointer,
    w_second: Pointer,
    w_slope: Pointer,
    w_offset: Pointer,
    b_first: Pointer,
    rows_per_sample: Number,
    width: Number,
    dx: Pointer,
    dweight: Pointer,
    dbias: Pointer,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The same of long rows, TILES being 1: walks for the statistics, the means and dx."""
    groups = tl.cdiv(rows_per_sample, ROWS * TILES)
    sample = tl.program_id(0) // groups
    rows = (tl.program_id(0) % groups) * ROWS + tl.arange(0, ROWS)
    present = rows < rows_per_sample
    starts = starts_of(sample, rows, rows_per_sample, width)
    mean, root = statistics_of(x, None, starts, present, width, None, b_first, EPS, ROWS, BLOCK)
    time = tl.load(tau + sample).to(tl.float32)
    sum_n = tl.zeros((ROWS,), tl.float32)
    sum_nu = tl.zeros((ROWS,), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        kept = at < width
        inside = present[:, None] & kept[None, :]
        place = starts[:, None] + at[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[:, None]
        grad = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
        n = grad * value_of(time, w_first, w_second, w_slope, w_offset, at, kept)[None, :]
        sum_n += tl.sum(n, 1)
        sum_nu += tl.sum(n * value * (1.0 / root)[:, None], 1)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        kept = at < width
        inside = present[:, None] & kept[None, :]
        place = starts[:, None] + at[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[:, None]
        grad = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
        n = grad * value_of(time, w_first, w_second, w_slope, w_offset, at, kept)[None, :]
        unit = value * (1.0 / root)[:, None]
        out = input_gradient_of(n, unit, sum_n / width, sum_nu / width, root, b_first, EPS)
        if dtotal is not None:
            out += tl.load(dtotal + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx + place, out.to(dx.dtype.element_ty), mask=inside)
        sums = tl.program_id(0).to(tl.int64) * width + at
        tl.store(dweight + sums, tl.sum(grad * unit, 0), mask=kept)
        if b_first is not None:
            tl.store(dbias + sums, tl.sum(grad, 0), mask=kept)


@jit
def parameter_gradients(  # noqa: PLR0913, PLR0917 - the operands of one launch
    dvalue: Pointer,
    tau: Pointer,
    first: Pointer,
    second: Pointer,
    slope: Pointer,
    offset: Pointer,
    samples: Number,
    width: Number,
    dfirst: Pointer,
    dsecond: Pointer,
    dslope: Pointer,
    doffset: Pointer,
    dtau: Pointer,
    SAMPLES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """From gradients (samples, width) of the values to those of the four vectors and of tau.

    A program takes BLOCK channels of all samples; `dtau` (programs, samples) is its part alone.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    kept = at < width
    pace = 1.0 + tl.load(slope + at, mask=kept, other=0.0).to(tl.float32)
    span = tl.load(first + at, mask=kept, other=0.0).to(tl.float32) - tl.load(
        second + at, mask=kept, other=0.0
    ).to(tl.float32)
    shift = tl.load(offset + at, mask=kept, other=0.0).to(tl.float32)
    first_sum = tl.zeros((BLOCK,), tl.float32)
    second_sum = tl.zeros((BLOCK,), tl.float32)
    slope_sum = tl.zeros((BLOCK,), tl.float32)
    offset_sum = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, samples, SAMPLES):
        sample = start + tl.arange(0, SAMPLES)
        present = sample < samples
        inside = present[:, None] & kept[None, :]
        place = sample.to(tl.int64)[:, None] * width + at[None, :]
        grad = tl.load(dvalue + place, mask=inside, other=0.0)
        time = tl.load(tau + sample, mask=present, other=0.0).to(tl.float32)
        gate = tl.sigmoid(time[:, None] * pace[None, :] + shift[None, :])
        dlogit = grad * span[None, :] * gate * (1.0 - gate)
        first_sum += tl.sum(grad * gate, 0)
        second_sum += tl.sum(grad * (1.0 - gate), 0)
        slope_sum += tl.sum(dlogit * time[:, None], 0)
        offset_sum += tl.sum(dlogit, 0)
        part = tl.sum(dlogit * pace[None, :], 1)
        tl.store(dtau + tl.program_id(0) * samples + sample, part, mask=present)
    tl.store(dfirst + at, first_sum.to(dfirst.dtype.element_ty), mask=kept)
    tl.store(dsecond + at, second_sum.to(dsecond.dtype.element_ty), mask=kept)
    tl.store(dslope + at, slope_sum.to(dslope.dtype.element_ty), mask=kept)
    tl.store(doffset + at, offset_sum.to(doffset.dtype.element_ty), mask=kept)
