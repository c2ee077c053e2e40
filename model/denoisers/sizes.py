"""The architecture that the shapes of a checkpoint in the authors' layout add up to."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from operator import mul

from pydantic import ValidationError
from torch import Tensor

from model.denoisers.carriers import (
    CHANNELS,
    CLASSES,
    CONV,
    IN_STAGE,
    LIFT_BIAS,
    LIFT_WEIGHT,
    POSITION,
    LayoutMismatch,
    StageShapes,
    most_said,
    root_of,
    run_length,
)
from model.specs.networks import DiMRSpec, Norm

_LEAST_TENSORS = 22  # of a whole stage: ConvNeXt of one block with static norms
_NORMS = (
    (re.compile(r".+\.block[12]\.norm\.scale\..+"), Norm.TD_RMSNORM),
    (re.compile(r".+\.block[12]\.norm\.(weight|bias)\..+"), Norm.TD_LAYERNORM),
    (re.compile(r".+\.block[12]\.norm\.scale"), Norm.RMSNORM),
)


def spec_of(tensors: Mapping[str, Tensor], *, num_heads: int | Sequence[int]) -> DiMRSpec:
    """Infer the architecture from the names and shapes of a bare state dict.

    The input's size is that of the stage that sees most of it: what *every* stage pools away
    leaves no trace in a checkpoint.

    Args:
        tensors: theirs by name.
        num_heads: of the Transformer stages, or of each of them in order.

    Raises:
        LayoutMismatch: a size is carried by no tensor, or by so few that those left contradict
            each other; names them.
    """
    stages = _stages({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    channels = most_said(vote for stage in stages for vote in stage.votes(CHANNELS))
    if channels is None:
        raise stages[0].wrong(CONV, "(dim, channels, patch, patch)")
    grids = _grids(stages)
    size, patches = _size_and_patches(stages, grids, channels)
    transformers = [stage.number for stage in stages if stage.attends]
    heads = dict(zip(transformers, _heads(num_heads, len(transformers)), strict=True))
    try:
        return DiMRSpec(
            size=size,
            channels=channels,
            classes=_classes([stages[r] for r in transformers]),
            norm=_norm(tensors),
            stages=tuple(
                stage.spec(patch, size // (patch * grid), heads.get(stage.number))
                for stage, patch, grid in zip(stages, patches, grids, strict=True)
            ),
        )
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        msg = f"the shapes fit no DiMR with num_heads = {num_heads}: {said}"
        raise LayoutMismatch(msg) from error


def _stages(shapes: Mapping[str, tuple[int, ...]]) -> list[StageShapes]:
    """Stages from 0 on; what has a stage's number but hardly any of its tensors is none."""
    found: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if match := IN_STAGE.fullmatch(name):
            found.setdefault(int(match[1]), {})[match[2]] = shape
    whole = {r for r, tensors in found.items() if 2 * len(tensors) > _LEAST_TENSORS}
    length = run_length(whole)
    if length < max(len(whole), 1):
        msg = f"missing stages.{length}.{CONV}, and most or all of the stage"
        raise LayoutMismatch(msg)
    return [StageShapes(r, found[r]) for r in range(length)]


def _grids(stages: Sequence[StageShapes]) -> list[int]:
    """Cells a side of each stage, by the positions of all and the factors between them."""
    factors = [1, *(_factor(low, high) for low, high in pairwise(stages))]
    scales = list(accumulate(factors, mul))
    lowest: dict[int, list[StageShapes]] = {}
    for stage, scale in zip(stages, scales, strict=True):
        if stage.side and stage.side % scale == 0:
            lowest.setdefault(stage.side // scale, []).append(stage)
    if not lowest:
        raise stages[0].wrong(POSITION, f"(g * g, {stages[0].dim})")
    most = max(map(len, lowest.values()))
    best = [grid for grid, voters in lowest.items() if len(voters) == most]
    if len(best) > 1:
        raise _contradiction([stage for grid in best for stage in lowest[grid]], POSITION)
    return [best[0] * scale for scale in scales]


def _factor(low: StageShapes, high: StageShapes) -> int:
    """How much finer the grid of a stage is than that of the one below."""
    rows = (high.axis(LIFT_WEIGHT, 2, 0), high.axis(LIFT_BIAS, 1, 0))
    votes = [root_of(n // high.dim) for n in rows if n % high.dim == 0]
    if low.side and high.side % low.side == 0:
        votes.append(high.side // low.side)
    factor = most_said(filter(None, votes))
    if factor is None:
        raise high.wrong(LIFT_WEIGHT, f"(f * f * {high.dim}, features)")
    return factor


def _size_and_patches(
    stages: Sequence[StageShapes], grids: Sequence[int], channels: int
) -> tuple[int, list[int]]:
    """The input's size, which what each stage sees must be a part of, and the sides of patches."""
    convs = [stage.shapes.get(CONV, ()) for stage in stages]
    patches = [conv[2] if len(conv) == 4 and conv[2] == conv[3] else 0 for conv in convs]
    sides = [patch * grid for patch, grid in zip(patches, grids, strict=True)]
    fitting = {size: sum(side > 0 and size % side == 0 for side in sides) for size in sides if size}
    best = [size for size, fit in fitting.items() if fit == max(fitting.values())]
    if len(best) > 1:
        raise _contradiction([s for s, side in zip(stages, sides, strict=True) if side], CONV)
    size = best[0] if best else 0
    for stage, side, grid in zip(stages, sides, grids, strict=True):
        if not side or size % side:
            raise stage.wrong(CONV, _convs(stage, channels, size // grid if size else 0))
    return size, patches


def _convs(stage: StageShapes, channels: int, most: int) -> str:
    """The shapes that an input convolution may have; its patches divide `most`, 0 if unknown."""
    shape = stage.shapes.get(CONV, ())
    sides = {side for side in shape[2:] if side and most % side == 0} if len(shape) == 4 else set()
    if most == 1:
        sides = {1}
    if sides:
        return " or ".join(f"({stage.dim}, {channels}, {p}, {p})" for p in sorted(sides))
    of = f", p a divisor of {most}" if most else ""
    return f"({stage.dim}, {channels}, p, p){of}"


def _classes(transformers: Sequence[StageShapes]) -> int:
    """Real classes: any number of rows is one of classes, and the null class has the last."""
    if not transformers:
        return 1
    rows = Counter(filter(None, (stage.axis(CLASSES, 2, 0) for stage in transformers)))
    first = transformers[0]
    if not rows:
        raise first.wrong(CLASSES, f"(classes + 1, {first.dim})")
    best = [n for n, votes in rows.items() if votes == max(rows.values())]
    if len(best) > 1:
        raise _contradiction([s for s in transformers if s.axis(CLASSES, 2, 0)], CLASSES)
    if best[0] == 1:
        raise first.wrong(CLASSES, f"(classes + 1, {first.dim}), for one class or more")
    return best[0] - 1


def _norm(names: Iterable[str]) -> Norm:
    """The norm inside the blocks, by the names of all of them."""
    kinds = Counter(kind for name in names for pattern, kind in _NORMS if pattern.fullmatch(name))
    if not kinds:
        msg = "missing stages.0.blocks.0.block2.norm.scale or .weight: no known norm in the blocks"
        raise LayoutMismatch(msg)
    return kinds.most_common(1)[0][0]


def _heads(num_heads: int | Sequence[int], stages: int) -> Sequence[int]:
    """Heads of each Transformer stage."""
    if isinstance(num_heads, int):
        return [num_heads] * stages
    if len(num_heads) != stages:
        msg = f"num_heads: got {len(num_heads)} numbers; allowed: one, or {stages}: one a stage"
        raise LayoutMismatch(msg)
    return num_heads


def _contradiction(stages: Sequence[StageShapes], name: str) -> LayoutMismatch:
    """The error of tensors of which one must be misshapen, but which one cannot be told."""
    listed = ", ".join(f"{stage.name(name)} {stage.shapes[name]}" for stage in stages)
    return LayoutMismatch(f"these contradict each other, so one of them is misshapen: {listed}")
