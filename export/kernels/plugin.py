"""The forward kernel of each norm as an ahead-of-time Python plugin of full TensorRT.

The engine carries the PTX, so it runs without Python or Triton. A node `dimr::TDLayerNorm` or
`dimr::TDRMSNorm` of the graph has a body, which the parser takes by default; it takes the plugin if
the node names the plugin's namespace and the override flag is set. TensorRT-RTX must
never see a plugin: it cannot build one, and its parser aborts the process.

Nothing here that needs the library has been run: full TensorRT cannot be installed where this was
written. What a launch passes, the PTX and its entry are plain values, made without it and tested;
`register` is written from the source of `tensorrt.plugin`.
"""

import functools
import hashlib
import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from export.kernels import norm_device
from export.kernels.ahead import PORTABLE, Compiled, compile_ahead, forward_form
from export.kernels.errors import PluginRefused, TensorRTAbsent
from export.kernels.library import triton_version
from export.kernels.tiles import tile_for
from model.specs.networks import Norm

if TYPE_CHECKING:
    import onnx

NAMESPACE = "dimr"
NODES = {Norm.TD_LAYERNORM: "TDLayerNorm", Norm.TD_RMSNORM: "TDRMSNorm"}  # types of the graph's
ROW_TYPES = ("FP16", "BF16", "FP32")  # in TensorRT's words; all else is FP32

_ENDS = ("first", "second", "slope", "offset")
_INPUTS = {
    Norm.TD_LAYERNORM: ("x", "tau", *(f"{p}_{e}" for p in ("weight", "bias") for e in _ENDS)),
    Norm.TD_RMSNORM: ("x", "tau", *(f"scale_{e}" for e in _ENDS)),
}


def plugin_id(norm: Norm) -> str:
    """What TensorRT registers a norm's plugin as."""
    return f"{NAMESPACE}::{NODES[norm]}"


def inputs(norm: Norm) -> tuple[str, ...]:
    """Tensors of a node, in order; the kernel takes them in the same."""
    return _INPUTS[norm]


@dataclass(frozen=True, slots=True)
class Launch:
    """What a launch is made of; numbers are integers, or TensorRT's expressions of shapes.

    Attributes:
        entry: the kernel's name in the PTX.
        ptx: takes the inputs, then `scalars`, then the output, and nothing else.
        grid: programs along x.
        threads: of a block, along x.
        shared_bytes: of a block.
        scalars: rows of a sample and channels of a row, int32.
    """

    entry: str
    ptx: str
    grid: Any
    threads: int
    shared_bytes: int
    scalars: tuple[Any, Any]


def launch(norm: Norm, dtype: torch.dtype, shape: Sequence[Any], width: int) -> Launch:
    """How the norm of a tensor is launched.

    Args:
        norm: one of the two time-dependent ones.
        dtype: of x and y.
        shape: (B, ..., C) as integers or as expressions that add, multiply and floor-divide.
        width: C as an integer.

    Raises:
        TargetUnfit: there is no kernel of this norm or type.
    """
    samples, *inner, channels = shape
    rows = inner[0] if inner else channels // channels  # 1, of the kind that the shape is made of
    for length in inner[1:]:
        rows = rows * length
    tile = tile_for(width)
    compiled = compile_ahead(forward_form(norm, dtype, width), PORTABLE)
    return Launch(
        entry=compiled.entry,
        ptx=without_scratch(compiled),
        grid=samples * ((rows + (tile.rows - 1)) // tile.rows),
        threads=compiled.threads,
        shared_bytes=compiled.shared_bytes,
        scalars=(rows, channels),
    )


def without_scratch(compiled: Compiled) -> str:
    """PTX without the two pointers that Triton appends, which TensorRT does not pass.

    They are for scratch memory, of which these kernels use none: the code never names them.
    """
    count = len(compiled.form.operands)
    head, listed, body = re.split(
        rf"(?<=\.entry {compiled.entry}\()(.*?)(?=\))", compiled.ptx, maxsplit=1, flags=re.DOTALL
    )
    params = listed.split(",")
    assert len(params) == count + 2, f"{len(params)} parameters of {count} operands and 2 pointers"
    for index in range(count, count + 2):
        name = f"{compiled.entry}_param_{index}"
        assert not re.search(rf"{name}\b", body), f"the code reads {name}"
    return f"{head}{','.join(params[:count])}\n{body}"


def type_combinations(norm: Norm) -> str:
    """Types that the inputs and the output may have together, as TensorRT's autotuner reads it."""
    rows = "|".join(ROW_TYPES)
    others = "|".join(["FP32"] * len(ROW_TYPES))
    return ", ".join([rows, *[others] * (len(inputs(norm)) - 1), rows])


def fingerprint() -> str:
    """What tells the plugins of two builds apart: their source, and what compiles it."""
    source = hashlib.sha256(inspect.getsource(norm_device).encode()).hexdigest()
    return f"triton {triton_version()} {source}"


@functools.cache
def register(library: ModuleType) -> tuple[str, ...]:
    """Register both plugins with full TensorRT, once a process; returns their names.

    Args:
        library: the module `tensorrt`.

    Raises:
        PluginRefused: it is not full TensorRT.
        TensorRTAbsent: it cannot make ahead-of-time Python plugins.
    """
    plugins = _plugins_of(library)
    types = {
        library.float16: torch.float16,
        library.bfloat16: torch.bfloat16,
        library.float32: torch.float32,
    }
    for norm in NODES:
        _register(plugins, types, norm)
    return tuple(map(plugin_id, NODES))


def with_namespace(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """A copy of a model whose norms carry the attribute that a parser finds plugins by.

    It looks a plugin up by that attribute alone, not by the domain of a node.
    """
    marked = type(model)()
    marked.CopyFrom(model)
    for node in marked.graph.node:
        if node.domain == NAMESPACE and node.op_type in NODES.values():
            attribute = node.attribute.add()
            attribute.name, attribute.s = "plugin_namespace", NAMESPACE.encode()
            attribute.type = type(attribute).STRING
    return marked


def _plugins_of(library: ModuleType) -> ModuleType:
    """`tensorrt.plugin`, of `tensorrt` and of nothing else."""
    if library.__name__ != "tensorrt":
        raise PluginRefused(library.__name__)
    try:
        plugins = importlib.import_module("tensorrt.plugin")
    except ImportError as absent:
        raise TensorRTAbsent(str(absent)) from absent
    if not hasattr(plugins, "aot_impl"):  # before 10.7
        msg = f"version {library.__version__} has no aot_impl"
        raise TensorRTAbsent(msg)
    return plugins


def _register(plugins: Any, types: dict[Any, torch.dtype], norm: Norm) -> None:  # noqa: ANN401 - a library that may be absent
    """Define shape, types and kernel of one plugin.

    TensorRT reads signatures: a description annotates every input, an implementation its result,
    and inputs have the same names in all three.
    """
    name, tensors = plugin_id(norm), inputs(norm)

    def describe(*descriptions: Any) -> Any:  # noqa: ANN401
        return descriptions[0].like()

    def combinations(*_: Any) -> Any:  # noqa: ANN401
        return [plugins.AutoTuneCombination(type_combinations(norm))]

    def implement(*operands: Any) -> Any:  # noqa: ANN401
        x = operands[0]
        width = int(x.shape[x.ndim - 1])
        made = launch(norm, types[x.dtype], list(x.shape_expr), width)
        params = plugins.KernelLaunchParams()
        params.grid_x, params.block_x = made.grid, made.threads
        params.shared_mem = made.shared_bytes
        scalars = plugins.SymIntExprs(len(made.scalars))
        for index, scalar in enumerate(made.scalars):
            scalars[index] = plugins.SymInt32(scalar)
        return made.entry, made.ptx, params, scalars

    tensor = plugins.TensorDesc
    result = tuple[str, str, plugins.KernelLaunchParams, plugins.SymIntExprs]
    plugins.register(name)(_signed(describe, tensors, tensor, tensor))
    plugins.autotune(name)(_signed(combinations, (*tensors, "outputs"), _EMPTY, _EMPTY))
    plugins.aot_impl(name)(_signed(implement, (*tensors, "outputs", "tactic"), _EMPTY, result))


_EMPTY = inspect.Parameter.empty


def _signed(
    function: Callable[..., Any],
    names: Sequence[str],
    annotation: Any,  # noqa: ANN401 - a class, or that there is none
    result: Any,  # noqa: ANN401
) -> Callable[..., Any]:
    """A function of so many positions with the signature that TensorRT is to read."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, annotation=annotation) for name in names]
    function.__signature__ = inspect.Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    return function
