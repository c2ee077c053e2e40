"""A float16 graph of which ONNX Runtime rounds every tensor to float16 on a CPU too.

There it computes in float32 and drops the pairs of casts between one operation and the next, so
that nothing but weights is ever rounded and nothing overflows: 1e17 passes through a "float16"
tensor. Two operations that only move data, which it has in float16, keep such a pair apart.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_AXIS = "rounded_axis"


def round_all(model: "onnx.ModelProto") -> int:
    """Have every float16 tensor of a graph rounded, in place; returns how many there are.

    Tensors within functions stay: those of norms are float32.

    Args:
        model: its `value_info` has the type of every tensor, as the exporter writes it.
    """
    from onnx import TensorProto, helper

    half = {
        value.name
        for value in model.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    nodes = []
    rounded = 0
    for node in model.graph.node:
        nodes.append(node)
        for place, name in enumerate(node.output):
            if name in half:
                raw, apart = f"{name}_raw", f"{name}_apart"
                node.output[place] = raw
                nodes.append(helper.make_node("Unsqueeze", [raw, _AXIS], [apart]))
                nodes.append(helper.make_node("Squeeze", [apart, _AXIS], [name]))
                rounded += 1
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    model.graph.initializer.append(helper.make_tensor(_AXIS, TensorProto.INT64, [1], [0]))
    return rounded
