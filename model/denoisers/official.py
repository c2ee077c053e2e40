"""The authors' checkpoint layout: their tensor names, and a DiMR of whatever size they hold.

Facts about the layout come from the released checkpoints of arXiv:2406.09416; every size but the
number of heads can be read off the shapes (`model.denoisers.sizes`).
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from model.denoisers.carriers import LayoutMismatch
from model.denoisers.dimr import DiMR
from model.denoisers.sizes import spec_of
from model.denoisers.weights import with_weights, without_memory

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
        LayoutMismatch: a tensor is missing, unexpected, misshapen or not of finite numbers (each
            is named), there are several state dicts, or `num_heads` does not divide a width.
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
        raise LayoutMismatch(_listed(sorted(problems), "; "))
    weights = {ours: tensors[name] for name, ours in named.items()}
    model = with_weights(lambda: DiMR(spec), weights).eval()
    if broken := [k for k, value in model.state_dict().items() if not value.isfinite().all()]:
        msg = f"not finite as float32: {_listed(sorted(map(official_name, broken)), ', ')}"
        raise LayoutMismatch(msg)
    return model


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
    """Tensors of the entries, numpy arrays included, all of them plain floating-point numbers."""
    strays = [name for name, value in entries.items() if not isinstance(value, Tensor | np.ndarray)]
    if strays:
        msg = f"not a tensor: {_listed(strays, ', ')}"
        raise LayoutMismatch(msg)
    whole = [
        f"{name} ({value.dtype})"
        for name, value in entries.items()
        if isinstance(value, Tensor | np.ndarray) and not _is_floating_point(value)
    ]
    if whole:
        msg = f"not of a floating-point type: {_listed(whole, ', ')}"
        raise LayoutMismatch(msg)
    tensors = {name: _as_tensor(value) for name, value in entries.items()}
    odd = [f"{name} ({_form(value)})" for name, value in tensors.items() if _form(value)]
    if odd:
        msg = f"not a plain tensor that holds its values: {_listed(odd, ', ')}"
        raise LayoutMismatch(msg)
    return tensors


def _is_floating_point(value: Tensor | np.ndarray) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f"
    return value.is_floating_point() and value.dtype is not torch.float4_e2m1fn_x2  # two in a byte


def _form(tensor: Tensor) -> str:
    """How a tensor keeps its values where that is not one after the other, else ""."""
    if tensor.is_meta:
        return "meta"
    if tensor.is_nested:
        return "nested"
    return "" if tensor.layout is torch.strided else str(tensor.layout).removeprefix("torch.")


def _as_tensor(value: object) -> Tensor:
    """A tensor or array as a tensor; an array that PyTorch would not share is copied."""
    if isinstance(value, np.ndarray):
        if value.dtype not in (np.float16, np.float32, np.float64):  # quadruple, or bytes swapped
            value = value.astype(np.float64)
        if not value.flags.writeable or min(value.strides, default=0) < 0:
            value = value.copy()
    return torch.as_tensor(value)


def _listed(items: Sequence[str], separator: str) -> str:
    """As many as one message can name."""
    more = len(items) - NAMED_PROBLEMS
    shown = [*items[:NAMED_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
    return separator.join(shown)
