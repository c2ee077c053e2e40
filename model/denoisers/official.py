"""The authors' checkpoint layout: their tensor names, and a DiMR of whatever size they hold.

Facts about the layout come from the released checkpoints of arXiv:2406.09416; every size but the
number of heads can be read off the shapes.
"""

import math
import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from model.denoisers.dimr import DiMR
from model.specs.networks import AnyStage, ConvNeXtStage, DiMRSpec, Norm, TransformerStage

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


class LayoutMismatch(ValueError):
    """A state dict is not a DiMR checkpoint, or not a whole one."""


def official_name(name: str) -> str:
    """The authors' name of one of our parameters."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def from_state_dict(state_dict: Mapping[str, object], *, num_heads: int) -> DiMR:
    """Build a DiMR from a checkpoint in the authors' layout and load its weights.

    Args:
        state_dict: their tensors by name; a wrapper dictionary ("model", "state_dict", ...) and a
            `module.` prefix are looked through.
        num_heads: attention heads of the Transformer stages (XL: 16, M and L: 12).

    Returns:
        A DiMR in evaluation mode, float32.

    Raises:
        LayoutMismatch: a tensor is missing, unexpected or misshapen (each is named), or
            `num_heads` does not divide the width.
    """
    tensors = _unwrap(state_dict)
    model = DiMR(spec_of(tensors, num_heads=num_heads))
    named = {official_name(name): name for name in model.state_dict()}
    own = model.state_dict()
    problems = [f"missing {name}" for name in named.keys() - tensors.keys()]
    problems += [f"unexpected {name}" for name in tensors.keys() - named.keys()]
    problems += [
        f"misshapen {name}: {tuple(tensors[name].shape)} instead of {tuple(own[ours].shape)}"
        for name, ours in named.items()
        if name in tensors and tensors[name].shape != own[ours].shape
    ]
    if problems:
        raise LayoutMismatch("; ".join(sorted(problems)))
    model.load_state_dict({ours: tensors[name].float() for name, ours in named.items()})
    return model.eval()


def spec_of(tensors: Mapping[str, Tensor], *, num_heads: int) -> DiMRSpec:
    """Infer the architecture from the names and shapes of a bare state dict.

    Raises:
        LayoutMismatch: a tensor that carries a size is absent or has the wrong rank.
    """
    count = 1 + max(
        (int(m[1]) for k in tensors if (m := re.match(r"stages\.(\d+)\.", k))), default=-1
    )
    if count == 0:
        msg = "no tensor is named stages.N...: this is not a DiMR checkpoint"
        raise LayoutMismatch(msg)
    read = _Reader(tensors)
    sides = [
        read.grid(r) * read.shape(f"stages.{r}.input_layer.1.weight", 4)[-1] for r in range(count)
    ]
    size = max(sides)
    class_rows = [
        read.shape(f"stages.{r}.class_embeds.weight", 2)[0] for r in range(count) if read.attends(r)
    ]
    try:
        return DiMRSpec(
            size=size,
            channels=read.shape("stages.0.input_layer.1.weight", 4)[1],
            classes=(class_rows[0] - 1) if class_rows else 1,
            norm=read.norm(),
            stages=tuple(
                read.stage(r, pool=size // side, num_heads=num_heads)
                for r, side in enumerate(sides)
            ),
        )
    except ValueError as error:
        msg = f"the shapes fit no DiMR with num_heads = {num_heads}: {error}"
        raise LayoutMismatch(msg) from error


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

    def grid(self, r: int) -> int:
        name = f"stages.{r}.input_layer.3.position_embeddings.weight"
        rows = self.shape(name, 2)[0]
        side = math.isqrt(rows)
        if side * side != rows:
            msg = f"misshapen {name}: {rows} rows are not a square grid"
            raise LayoutMismatch(msg)
        return side

    def attends(self, r: int) -> bool:
        return f"stages.{r}.class_embeds.weight" in self._tensors

    def norm(self) -> Norm:
        block = "stages.0.blocks.0.block2.norm"
        if f"{block}.scale.param0" in self._tensors:
            return Norm.TD_RMSNORM
        if f"{block}.weight.param0" in self._tensors:
            return Norm.TD_LAYERNORM
        if f"{block}.scale" in self._tensors:
            return Norm.RMSNORM
        msg = f"missing {block}.scale or .weight: no known norm in the blocks"
        raise LayoutMismatch(msg)

    def stage(self, r: int, *, pool: int, num_heads: int) -> AnyStage:
        dim, _, patch, _ = self.shape(f"stages.{r}.input_layer.1.weight", 4)
        pattern = re.compile(rf"stages\.{r}\.blocks\.(\d+)\.")
        blocks = 1 + max((int(m[1]) for k in self._tensors if (m := pattern.match(k))), default=-1)
        hidden = self.shape(f"stages.{r}.blocks.0.block2.w0.weight", 2)[0]
        if self.attends(r):
            return TransformerStage(
                dim=dim, blocks=blocks, hidden=hidden, patch=patch, pool=pool, heads=num_heads
            )
        kernel = self.shape(f"stages.{r}.blocks.0.block1.1.weight", 4)[-1]
        return ConvNeXtStage(
            dim=dim, blocks=blocks, hidden=hidden, patch=patch, pool=pool, kernel=kernel
        )


def _unwrap(state_dict: Mapping[str, object]) -> dict[str, Tensor]:
    """Look through one wrapper dictionary and a `module.` prefix; numpy arrays are taken too."""
    inner: Mapping[str, object] = state_dict
    if not any(str(key).removeprefix("module.").startswith("stages.") for key in inner):
        nested = {k: v for k, v in state_dict.items() if isinstance(v, Mapping)}
        if len(nested) != 1:
            keys = ", ".join(map(str, nested or state_dict)) or "none"
            msg = f"no tensor is named stages.N...; top-level keys are: {keys:.200}"
            if nested:
                msg = f"several state dicts are wrapped together, pass one of them: {keys:.200}"
            raise LayoutMismatch(msg)
        (inner,) = nested.values()
    strays = [key for key, value in inner.items() if not isinstance(value, Tensor | np.ndarray)]
    if strays:
        msg = f"not a tensor: {', '.join(map(str, strays[:8]))}"
        raise LayoutMismatch(msg)
    return {str(k).removeprefix("module."): torch.as_tensor(v) for k, v in inner.items()}
