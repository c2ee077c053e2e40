"""The authors' checkpoint layout: their tensor names, and a DiMR of whatever size they hold.

Facts about the layout come from the released checkpoints of arXiv:2406.09416; every size but the
number of heads can be read off the shapes.
"""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from model.denoisers.dimr import DiMR
from model.denoisers.weights import with_weights, without_memory
from model.specs.networks import ConvNeXtStage, DiMRSpec, Norm, TransformerStage

# Ours -> theirs; applied one after the other to every parameter name.
_RENAMES = (
    (r"\.first$", ".param0"),
    (r"\.second$", ".param1"),
    (r"\.slope$", ".nodecay_weight"),
    (r"\.offset$", ".nodecay_bias"),
    (r"\.patchify\.embed\.", ".input_layer.1."),
    (r"\.position\.", ".input_layer.3.position_embeddings."),
    (r"\.class_embedding\.", ".class_embeds."),
    (r"\.upsample\.norm_in\.", ".upsample.0."),
    (r"\.upsample\.linear\.", ".upsample.1.kernel."),
    (r"\.upsample\.norm_out\.", ".upsample.2."),
    (r"\.trunk\.blocks\.", ".blocks."),
    (r"\.trunk\.skips\.", ".skip_denses."),
    (r"\.attention\.qkv\.", ".block1.query_key_value."),
    (r"\.attention\.out\.", ".block1.dense."),
    (r"\.attention\.", ".block1."),
    (r"\.depthwise\.", ".block1.1."),
    (r"\.mlp\.gate\.", ".block2.w0."),
    (r"\.mlp\.value\.", ".block2.w1."),
    (r"\.mlp\.out\.", ".block2.w2."),
    (r"\.mlp\.", ".block2."),
    (r"\.head\.norm\.", ".output_layer.0."),
    (r"\.head\.conv\.", ".output_layer.2."),
)

NAMED_PROBLEMS = 20  # of a state dict that does not fit, in one message
DEEPEST = 3  # dictionaries around a state dict that are looked through

_PLACE = re.compile(r"(?:(.*?)[./])?stages\.\d+\.")  # what stands before a tensor's own name
_WRAPPERS = re.compile(r"(?:(?:module|_orig_mod)\.)+")  # of DistributedDataParallel, torch.compile


class LayoutMismatch(ValueError):
    """A state dict is not a DiMR checkpoint, or not a whole one."""


def official_name(name: str) -> str:
    """The authors' name of one of our parameters."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def from_state_dict(state_dict: Mapping[str, object], *, num_heads: int | Sequence[int]) -> DiMR:
    """Build a DiMR from a checkpoint in the authors' layout and load its weights.

    Args:
        state_dict: their tensors by name, of any floating-point type, numpy arrays included;
            dictionaries around them ("model", "state_dict", ...) and prefixes such as `module.`
            are looked through.
        num_heads: attention heads of the Transformer stages (XL and G: 16, M and L: 12), or of
            each of them in order.

    Returns:
        A DiMR in evaluation mode, float32.

    Raises:
        LayoutMismatch: a tensor is missing, unexpected or misshapen (each is named), there are
            several state dicts, or `num_heads` does not divide a width.
    """
    found = state_dicts(state_dict)
    if not found:
        keys = ", ".join(map(str, state_dict)) or "none"
        msg = f"no tensor is named stages.N...; top-level keys are: {keys:.200}"
        raise LayoutMismatch(msg)
    if len(found) > 1:
        msg = f"several state dicts are wrapped together, pass one of them: {', '.join(found)}"
        raise LayoutMismatch(msg)
    tensors = _as_tensors(*found.values())
    spec = spec_of(tensors, num_heads=num_heads)
    shapes = {k: tuple(v.shape) for k, v in without_memory(lambda: DiMR(spec)).state_dict().items()}
    named = {official_name(name): name for name in shapes}
    problems = [f"missing {name}" for name in named.keys() - tensors.keys()]
    problems += [f"unexpected {name}" for name in tensors.keys() - named.keys()]
    problems += [
        f"misshapen {name}: {tuple(tensors[name].shape)} instead of {shapes[ours]}"
        for name, ours in named.items()
        if name in tensors and tuple(tensors[name].shape) != shapes[ours]
    ]
    if problems:
        listed = sorted(problems)[:NAMED_PROBLEMS]
        more = len(problems) - len(listed)
        raise LayoutMismatch("; ".join([*listed, f"and {more} more"] if more else listed))
    weights = {ours: tensors[name] for name, ours in named.items()}
    return with_weights(lambda: DiMR(spec), weights).eval()


def state_dicts(checkpoint: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Every state dict in the authors' layout that a checkpoint holds, by its place in it.

    The place is "" where the checkpoint is one itself, "ema" where its entry "ema" is one or where
    its tensors are called `ema.stages...`, "state.ema" one dictionary deeper. Prefixes are removed.
    """
    return {".".join(place): found for place, found in _state_dicts(checkpoint, DEEPEST).items()}


def _state_dicts(
    mapping: Mapping[str, object], depth: int
) -> dict[tuple[str, ...], dict[str, object]]:
    entries = {_WRAPPERS.sub("", str(key), count=1): value for key, value in mapping.items()}
    prefixes = {match[1] for key in entries if (match := _PLACE.match(key))}
    found: dict[tuple[str, ...], dict[str, object]] = {}
    for prefix in sorted(prefixes, key=str):
        if prefix is None:
            found[()] = entries
        else:
            inner = (key for key in entries if key.startswith((f"{prefix}.", f"{prefix}/")))
            found[(prefix,)] = {key[len(prefix) + 1 :]: entries[key] for key in inner}
    for key, value in mapping.items():
        if depth > 0 and isinstance(value, Mapping):
            inside = _state_dicts(value, depth - 1)
            found |= {(str(key), *place): tensors for place, tensors in inside.items()}
    return found


def _as_tensors(entries: Mapping[str, object]) -> dict[str, Tensor]:
    """Floating-point tensors of the entries, numpy arrays included."""
    strays = [name for name, value in entries.items() if not isinstance(value, Tensor | np.ndarray)]
    if strays:
        msg = f"not a tensor: {', '.join(strays[:NAMED_PROBLEMS])}"
        raise LayoutMismatch(msg)
    tensors = {name: _as_tensor(value) for name, value in entries.items()}
    whole = [f"{name} ({v.dtype})" for name, v in tensors.items() if not v.is_floating_point()]
    if whole:
        msg = f"not of a floating-point type: {', '.join(whole[:NAMED_PROBLEMS])}"
        raise LayoutMismatch(msg)
    return tensors


def _as_tensor(value: object) -> Tensor:
    """A tensor or array as a tensor; an array that PyTorch would not share is copied."""
    if isinstance(value, np.ndarray) and (
        not value.flags.writeable or min(value.strides, default=0) < 0
    ):
        value = value.copy()
    return torch.as_tensor(value)


def spec_of(tensors: Mapping[str, Tensor], *, num_heads: int | Sequence[int]) -> DiMRSpec:
    """Infer the architecture from the names and shapes of a bare state dict.

    The input's size is that of the stage that sees most of it: what *every* stage pools away
    leaves no trace in a checkpoint.

    Args:
        tensors: theirs by name.
        num_heads: see `from_state_dict`.

    Raises:
        LayoutMismatch: a tensor that carries a size is absent or has the wrong rank.
    """
    read = _Reader(tensors)
    count = read.count(r"stages\.(\d+)\.")
    if count == 0:
        msg = "no tensor is named stages.N...: this is not a DiMR checkpoint"
        raise LayoutMismatch(msg)
    sides = [
        read.grid(r) * read.shape(f"stages.{r}.input_layer.1.weight", 4)[-1] for r in range(count)
    ]
    size = max(sides)
    for r, side in enumerate(sides):
        if size % side:
            msg = f"stages.{r} sees {side} cells a side, which is no part of {size}"
            raise LayoutMismatch(msg)
    transformers = [r for r in range(count) if read.attends(r)]
    rows = [read.shape(f"stages.{r}.class_embeds.weight", 2)[0] for r in transformers]
    heads = dict(zip(transformers, _heads(num_heads, len(transformers)), strict=True))
    try:
        return DiMRSpec(
            size=size,
            channels=read.shape("stages.0.input_layer.1.weight", 4)[1],
            classes=(rows[0] - 1) if rows else 1,
            norm=read.norm(),
            stages=tuple(
                read.transformer(r, pool=size // side, heads=heads[r])
                if r in heads
                else read.convnext(r, pool=size // side)
                for r, side in enumerate(sides)
            ),
        )
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        msg = f"the shapes fit no DiMR with num_heads = {num_heads}: {said}"
        raise LayoutMismatch(msg) from error


def _heads(num_heads: int | Sequence[int], stages: int) -> Sequence[int]:
    """Heads of each Transformer stage."""
    if isinstance(num_heads, int):
        return [num_heads] * stages
    if len(num_heads) != stages:
        msg = f"num_heads: got {len(num_heads)} numbers; allowed: one, or {stages}: one a stage"
        raise LayoutMismatch(msg)
    return num_heads


class _Reader:
    """Sizes of single parts of a checkpoint, with errors that name the tensor."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        tensor = self._tensors.get(name)
        if tensor is None:
            msg = f"missing {name}"
            raise LayoutMismatch(msg)
        if tensor.ndim != rank:
            msg = f"misshapen {name}: {tuple(tensor.shape)} instead of {rank} axes"
            raise LayoutMismatch(msg)
        return tuple(tensor.shape)

    def count(self, pattern: str) -> int:
        """1 + the largest number that a name begins with `pattern` and has there, or 0."""
        found = (re.match(pattern, name) for name in self._tensors)
        return 1 + max((int(match[1]) for match in found if match), default=-1)

    def grid(self, r: int) -> int:
        name = f"stages.{r}.input_layer.3.position_embeddings.weight"
        rows = self.shape(name, 2)[0]
        side = math.isqrt(rows)
        if side * side != rows:
            msg = f"misshapen {name}: {rows} rows are not a square grid"
            raise LayoutMismatch(msg)
        return side

    def attends(self, r: int) -> bool:
        known = ("class_embeds.weight", "blocks.0.block1.query_key_value.weight")
        return any(f"stages.{r}.{name}" in self._tensors for name in known)

    def norm(self) -> Norm:
        block = "stages.0.blocks.0.block2.norm"
        names = {".".join(name.split(".")[:7]) for name in self._tensors if name.startswith(block)}
        if f"{block}.weight" in names:
            return Norm.TD_LAYERNORM
        if f"{block}.scale" in self._tensors:
            return Norm.RMSNORM
        if f"{block}.scale" in names:
            return Norm.TD_RMSNORM
        msg = f"missing {block}.scale or .weight: no known norm in the blocks"
        raise LayoutMismatch(msg)

    def transformer(self, r: int, *, pool: int, heads: int) -> TransformerStage:
        return TransformerStage(**self._sizes(r), pool=pool, heads=heads)

    def convnext(self, r: int, *, pool: int) -> ConvNeXtStage:
        kernel = self.shape(f"stages.{r}.blocks.0.block1.1.weight", 4)[-1]
        return ConvNeXtStage(**self._sizes(r), pool=pool, kernel=kernel)

    def _sizes(self, r: int) -> dict[str, int]:
        """What both kinds of stage have, by its name in a spec."""
        dim, _, _, patch = self.shape(f"stages.{r}.input_layer.1.weight", 4)
        skips = self.count(rf"stages\.{r}\.skip_denses\.(\d+)\.")
        blocks = max(2 * skips + 1, self.count(rf"stages\.{r}\.blocks\.(\d+)\."))
        hidden = self.shape(f"stages.{r}.blocks.0.block2.w0.weight", 2)[0]
        # Theirs is always odd; an even number means that the last block is missing.
        return {"dim": dim, "blocks": blocks // 2 * 2 + 1, "hidden": hidden, "patch": patch}
