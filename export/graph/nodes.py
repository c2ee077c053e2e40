"""Time-dependent norms as single nodes: torch ops of the library `dimr`, ONNX nodes of its domain.

`norms_as_nodes` puts modules that call the ops in place of a network's norms, so that a trace keeps
each norm whole. In ONNX each op is a model-local function: a node that can be found by its name,
and a body for every runtime and parser that does not know it. What the norms compute is defined in
`model.layers.norm`; here it stands a second time as the body, which tests compare with it.

A node takes x (B, N, C) of float32 or float16, tau (B,) and vectors (C,) of float32, and gives y
like x. Grids come as rows of cells: with four axes TensorRT-RTX 1.7 carries the layout of the
convolution before a norm into the norm and splits it into up to four kernels.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.layers.norm import (
    LAYER_NORM_EPS,
    RMS_EPS,
    TDLayerNorm,
    TDRMSNorm,
    TimeDependentParameter,
)

if TYPE_CHECKING:
    import onnx
    from onnx.defs import OpSchema

DOMAIN, VERSION = "dimr", 1
OPSET = 23  # the first one that has attention as one node
RMS_NORM, LAYER_NORM = "TDRMSNorm", "TDLayerNorm"
NODE_TYPES = (RMS_NORM, LAYER_NORM)

_ENDS = ("first", "second", "slope", "offset")  # of a TimeDependentParameter, each (C,) float32
_INPUTS: Mapping[str, tuple[str, ...]] = {
    RMS_NORM: ("x", "tau", *(f"scale_{end}" for end in _ENDS)),
    LAYER_NORM: (
        *("x", "tau"),
        *(f"weight_{end}" for end in _ENDS),
        *(f"bias_{end}" for end in _ENDS),
    ),
}

# value(tau) of a TimeDependentParameter as (B, 1, C); what depends on parameters alone is folded by
# every compiler.
_VALUE = """
   {name}_pace = Add (one, {name}_slope)
   {name}_time = Mul (time, {name}_pace)
   {name}_logit = Add ({name}_time, {name}_offset)
   {name}_gate = Sigmoid ({name}_logit)
   {name}_span = Sub ({name}_first, {name}_second)
   {name}_way = Mul ({name}_gate, {name}_span)
   {name}_flat = Add ({name}_second, {name}_way)
   {name} = Unsqueeze ({name}_flat, inner)
"""
_START = """
   one = Constant <value_float = 1.0> ()
   last = Constant <value_ints = [-1]> ()
   inner = Constant <value_ints = [1]> ()
   time = Unsqueeze (tau, last)
   wide = Cast <to = 1> (x)
"""
_BODIES: Mapping[str, str] = {
    RMS_NORM: f"""{_START}{_VALUE.format(name="scale")}
   square = Mul (wide, wide)
   power = ReduceMean <keepdims = 1> (square, last)
   root = Sqrt (power)
   epsilon = Constant <value_float = {RMS_EPS:e}> ()
   rms = Add (root, epsilon)
   unit = Div (wide, rms)
   y_wide = Mul (unit, scale)
   y = CastLike (y_wide, x)
""",
    LAYER_NORM: f"""{_START}{_VALUE.format(name="weight")}{_VALUE.format(name="bias")}
   mean = ReduceMean <keepdims = 1> (wide, last)
   centred = Sub (wide, mean)
   square = Mul (centred, centred)
   variance = ReduceMean <keepdims = 1> (square, last)
   epsilon = Constant <value_float = {LAYER_NORM_EPS:e}> ()
   raised = Add (variance, epsilon)
   deviation = Sqrt (raised)
   unit = Div (centred, deviation)
   scaled = Mul (unit, weight)
   y_wide = Add (scaled, bias)
   y = CastLike (y_wide, x)
""",
}


def _value(tau: Tensor, ends: Sequence[Tensor]) -> Tensor:
    """A time-dependent parameter at tau (B,): (B, 1, C)."""
    first, second, slope, offset = ends
    gate = torch.sigmoid(torch.addcmul(offset, tau[:, None], 1 + slope))
    return torch.lerp(second, first, gate)[:, None]


@torch.library.custom_op("dimr::td_rms_norm", mutates_args=())
def td_rms_norm(x: Tensor, tau: Tensor, scale: Sequence[Tensor]) -> Tensor:
    """TD-RMSNorm of x (B, N, C) at tau (B,), see `model.layers.norm.TDRMSNorm`."""
    wide = x.float()
    rms = wide.square().mean(-1, keepdim=True).sqrt() + RMS_EPS
    return (wide / rms * _value(tau, scale)).to(x.dtype)


@torch.library.custom_op("dimr::td_layer_norm", mutates_args=())
def td_layer_norm(
    x: Tensor, tau: Tensor, weight: Sequence[Tensor], bias: Sequence[Tensor]
) -> Tensor:
    """TD-LN of x (B, N, C) at tau (B,), see `model.layers.norm.TDLayerNorm`."""
    unit = nn.functional.layer_norm(x.float(), x.shape[-1:], eps=LAYER_NORM_EPS)
    return (unit * _value(tau, weight) + _value(tau, bias)).to(x.dtype)


@td_rms_norm.register_fake
def _(x: Tensor, tau: Tensor, scale: Sequence[Tensor]) -> Tensor:
    return torch.empty_like(x)


@td_layer_norm.register_fake
def _(x: Tensor, tau: Tensor, weight: Sequence[Tensor], bias: Sequence[Tensor]) -> Tensor:
    return torch.empty_like(x)


class RMSNormNode(nn.Module):
    """A TD-RMSNorm that stays one node in a trace; its parameters keep their names."""

    def __init__(self, norm: TDRMSNorm) -> None:
        super().__init__()
        self.scale = norm.scale

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Normalise x (B, ..., C) at times tau (B,); dtype and shape of x are kept."""
        out: Tensor = td_rms_norm(x.flatten(1, -2), tau, _ends(self.scale))
        return out.reshape(x.shape)


class LayerNormNode(nn.Module):
    """A TD-LN that stays one node in a trace; its parameters keep their names."""

    def __init__(self, norm: TDLayerNorm) -> None:
        super().__init__()
        self.weight = norm.weight
        self.bias = norm.bias

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Normalise x (B, ..., C) at times tau (B,); dtype and shape of x are kept."""
        rows = x.flatten(1, -2)
        out: Tensor = td_layer_norm(rows, tau, _ends(self.weight), _ends(self.bias))
        return out.reshape(x.shape)


def norms_as_nodes(network: nn.Module) -> nn.Module:
    """A copy of a network, in which time-dependent norms are nodes; it shares all tensors."""
    copied = shared_copy(network)
    for module in list(copied.modules()):
        for name, child in module.named_children():
            match child:
                case TDRMSNorm():
                    setattr(module, name, RMSNormNode(child))
                case TDLayerNorm():
                    setattr(module, name, LayerNormNode(child))
                case _:
                    pass
    return copied


def shared_copy(network: nn.Module) -> nn.Module:
    """A copy of a network that can be rebuilt at will; its tensors are those of the original."""
    tensors = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What the exporter is to write for each op: its node."""
    from onnxscript.values import Op, Opset

    opset = Opset(DOMAIN, VERSION)
    rms, layer = (Op(opset, name, _schema(name)) for name in NODE_TYPES)

    def rms_norm(x: Any, tau: Any, scale: Sequence[Any]) -> Any:  # noqa: ANN401  # exporter's own
        return rms(x, tau, *scale)

    def layer_norm(  # the exporter's own values
        x: Any,  # noqa: ANN401
        tau: Any,  # noqa: ANN401
        weight: Sequence[Any],
        bias: Sequence[Any],
    ) -> Any:  # noqa: ANN401
        return layer(x, tau, *weight, *bias)

    ops = torch.ops
    return {
        ops.dimr.td_rms_norm.default: rms_norm,
        ops.dimr.td_layer_norm.default: layer_norm,
        ops.aten.scaled_dot_product_attention.default: _attention,
        ops.aten.stack.default: _stack,
    }


def functions() -> "list[onnx.FunctionProto]":
    """The bodies of all nodes of this domain."""
    from onnx import parser

    return [
        parser.parse_function(
            f'<domain: "{DOMAIN}", opset_import: ["": {OPSET}]>\n'
            f"{name} ({', '.join(_INPUTS[name])}) => (y) {{{_BODIES[name]}}}"
        )
        for name in NODE_TYPES
    ]


def _ends(parameter: TimeDependentParameter) -> list[Tensor]:
    return [parameter.first, parameter.second, parameter.slope, parameter.offset]


def _attention(  # the exporter's own values
    query: Any,  # noqa: ANN401
    key: Any,  # noqa: ANN401
    value: Any,  # noqa: ANN401
    attn_mask: Any = None,  # noqa: ANN401
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002  # as PyTorch calls it
    scale: float | None = None,
    **_others: object,
) -> Any:  # noqa: ANN401
    """One node, whatever the mask; ONNX Runtime takes none that is the same for all queries."""
    from onnxscript import opset23

    assert dropout_p == 0, "in evaluation mode"
    if attn_mask is not None and attn_mask.shape[-2] != query.shape[-2]:
        rows: Any = opset23.Constant(value_ints=[1, 1, query.shape[-2], 1])
        attn_mask = opset23.Expand(attn_mask, rows)
    mixed, *_ = opset23.Attention(
        query, key, value, attn_mask=attn_mask, scale=scale, is_causal=int(is_causal)
    )
    return mixed


def _stack(tensors: Sequence[Any], dim: int = 0) -> Any:  # noqa: ANN401  # exporter's own
    """In float32 where types are mixed, as PyTorch does and the exporter does not."""
    from onnxscript import opset23

    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = [opset23.Cast(tensor, to=1) for tensor in tensors]
    axis: Any = opset23.Constant(value_ints=[dim])
    return opset23.Concat(*(opset23.Unsqueeze(tensor, axis) for tensor in tensors), axis=dim)


def _schema(name: str) -> "OpSchema":
    """The op as the exporter must know it to write a node."""
    from onnx.defs import OpSchema

    types = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
    kinds = {"x": "T"}
    return OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[OpSchema.FormalParameter(entry, kinds.get(entry, "P")) for entry in _INPUTS[name]],
        outputs=[OpSchema.FormalParameter("y", "T")],
        type_constraints=[("T", types, "of x and y"), ("P", types[:1], "of all else")],
    )
