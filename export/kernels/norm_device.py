"""Device code of TD-LN and TD-RMSNorm: what a launch of `export.kernels.td_norm` runs.

Rows are (samples, rows_per_sample, width), contiguous; parameters are (width,), each channel with
a slope and an offset of its own. Sums are float32. A norm without `b_first` is TD-RMSNorm: the mean
stays, epsilon is added to the root; with it, TD-LN. A pointer that is None is compiled away.

The order of arguments, inputs, integers, outputs, is what a TensorRT plugin launches with.
"""

from export.kernels.library import Number, Pointer, jit, tl


@jit
def gate_of(tau: Number, slope: Pointer, offset: Pointer, at: Number, inside: Number) -> Number:
    """How far parameters have moved towards their first end, in (0, 1)."""
    pace = 1.0 + tl.load(slope + at, mask=inside, other=0.0).to(tl.float32)
    return tl.sigmoid(tau * pace + tl.load(offset + at, mask=inside, other=0.0).to(tl.float32))


@jit
def value_of(
    tau: Number,
    first: Pointer,
    second: Pointer,
    slope: Pointer,
    offset: Pointer,
    at: Number,
    inside: Number,
) -> Number:
    """Time-dependent parameters of the channels `at`, float32."""
    end = tl.load(second + at, mask=inside, other=0.0).to(tl.float32)
    span = tl.load(first + at, mask=inside, other=0.0).to(tl.float32) - end
    return end + gate_of(tau, slope, offset, at, inside) * span


@jit
def input_of(x: Pointer, residual: Pointer, place: Number, inside: Number) -> Number:
    """x, or x + residual rounded once to the type of x, as float32."""
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if residual is not None:
        value += tl.load(residual + place, mask=inside, other=0.0).to(tl.float32)
        value = value.to(x.dtype.element_ty).to(tl.float32)
    return value


@jit
def starts_of(sample: Number, rows: Number, rows_per_sample: Number, width: Number) -> Number:
    """Where rows of a sample begin."""
    return (sample.to(tl.int64) * rows_per_sample + rows) * width


@jit
def statistics_of(  # noqa: PLR0913, PLR0917 - of x + residual, from memory
    x: Pointer,
    residual: Pointer,
    starts: Number,
    present: Number,
    width: Number,
    total: Pointer,
    b_first: Pointer,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> Number:
    """Mean, root and 1 / root of long rows, blocks merged after Chan; stores x + residual."""
    mean = tl.zeros((ROWS,), tl.float32)
    squares = tl.zeros((ROWS,), tl.float32)  # of deviations from the mean; of values without bias
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = present[:, None] & (at < width)[None, :]
        place = starts[:, None] + at[None, :]
        value = input_of(x, residual, place, inside)
        if total is not None:
            tl.store(total + place, value.to(total.dtype.element_ty), mask=inside)
        if b_first is not None:
            count = tl.minimum(width - start, BLOCK).to(tl.float32)
            share = count / (start + count)
            block_mean = tl.sum(value, 1) / count
            centred = tl.where(inside, value - block_mean[:, None], 0.0)
            step = block_mean - mean
            mean += step * share
            squares += tl.sum(centred * centred, 1) + step * step * (start * share)
        else:
            squares += tl.sum(value * value, 1)
    root = root_of(squares / width, b_first, EPS)
    return mean, root


@jit
def root_of(power: Number, b_first: Pointer, EPS: tl.constexpr) -> Number:
    """What rows are divided by, epsilon where the kind of norm has it."""
    return tl.sqrt(power + EPS) if b_first is not None else tl.sqrt(power) + EPS


@jit
def td_norm_whole(  # noqa: PLR0913, PLR0917 - the operands of one launch, in its order
    x: Pointer,
    tau: Pointer,
    w_first: Pointer,
    w_second: Pointer,
    w_slope: Pointer,
    w_offset: Pointer,
    b_first: Pointer,
    b_second: Pointer,
    b_slope: Pointer,
    b_offset: Pointer,
    residual: Pointer,
    rows_per_sample: Number,
    width: Number,
    y: Pointer,
    total: Pointer,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Norm of x + residual to y, the sum to total: a tile of whole rows a program."""
    tiles = tl.cdiv(rows_per_sample, ROWS)
    sample = tl.program_id(0) // tiles
    rows = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS)
    at = tl.arange(0, BLOCK)
    kept = at < width
    inside = (rows < rows_per_sample)[:, None] & kept[None, :]
    place = starts_of(sample, rows, rows_per_sample, width)[:, None] + at[None, :]
    value = input_of(x, residual, place, inside)
    if total is not None:
        tl.store(total + place, value.to(total.dtype.element_ty), mask=inside)
    if b_first is not None:
        mean = tl.sum(value, 1) / width
        value = tl.where(inside, value - mean[:, None], 0.0)
    root = root_of(tl.sum(value * value, 1) / width, b_first, EPS)
    time = tl.load(tau + sample).to(tl.float32)
    weight = value_of(time, w_first, w_second, w_slope, w_offset, at, kept)
    out = value * (1.0 / root)[:, None] * weight[None, :]
    if b_first is not None:
        out += value_of(time, b_first, b_second, b_slope, b_offset, at, kept)[None, :]
    tl.store(y + place, out.to(y.dtype.element_ty), mask=inside)


@jit
def td_norm_long(  # noqa: PLR0913, PLR0917 - the operands of one launch, in its order
    x: Pointer,
    tau: Pointer,
    w_first: Pointer,
    w_second: Pointer,
    w_slope: Pointer,
    w_offset: Pointer,
    b_first: Pointer,
    b_second: Pointer,
    b_slope: Pointer,
    b_offset: Pointer,
    residual: Pointer,
    rows_per_sample: Number,
    width: Number,
    y: Pointer,
    total: Pointer,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The same of rows longer than a block: one walk for the statistics, one to apply them."""
    tiles = tl.cdiv(rows_per_sample, ROWS)
    sample = tl.program_id(0) // tiles
    rows = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS)
    present = rows < rows_per_sample
    starts = starts_of(sample, rows, rows_per_sample, width)
    mean, root = statistics_of(
        x, residual, starts, present, width, total, b_first, EPS, ROWS, BLOCK
    )
    inverse = 1.0 / root
    time = tl.load(tau + sample).to(tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        kept = at < width
        inside = present[:, None] & kept[None, :]
        place = starts[:, None] + at[None, :]
        value = input_of(x, residual, place, inside) - mean[:, None]
        weight = value_of(time, w_first, w_second, w_slope, w_offset, at, kept)
        out = value * inverse[:, None] * weight[None, :]
        if b_first is not None:
            out += value_of(time, b_first, b_second, b_slope, b_offset, at, kept)[None, :]
        tl.store(y + place, out.to(y.dtype.element_ty), mask=inside)
