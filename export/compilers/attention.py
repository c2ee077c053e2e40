"""Attention that TensorRT may take apart where it has no kernel for it.

An ONNX node `Attention` becomes a layer of its own, which the builder computes by one of its
attention kernels or not at all, unless the node carries an attribute of TensorRT's own: then what
fits no kernel is compiled as two products and a softmax. What fits one keeps it. ONNX knows no such
attribute and its checker refuses it, so graphs get it last, and for TensorRT alone.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_ATTRIBUTE = "TRT_decomposable"


def allow_decomposition(model: "onnx.ModelProto") -> None:
    """Mark every attention of a model, in place."""
    for node in model.graph.node:
        if (node.domain, node.op_type) == ("", "Attention"):
            attribute = node.attribute.add()
            attribute.name, attribute.i, attribute.type = _ATTRIBUTE, 1, type(attribute).INT
