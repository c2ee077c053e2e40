"""Torch-TensorRT: what is handed to it, as far as that can be made without a GPU."""

import torch
from torch import nn

from export.compilers.torch_tensorrt import program_of
from export.graph.nodes import norms_as_nodes
from model.layers.norm import TDLayerNorm, TDRMSNorm


class Scales(nn.Module):
    """Called with as many states as there are, as a layered network is."""

    def __init__(self):
        super().__init__()
        self.rms = TDRMSNorm(5)
        self.layer = TDLayerNorm(5)

    def forward(self, *inputs):
        *z, t = inputs
        return tuple(self.layer(self.rms(rows, t), t) for rows in z)


EXAMPLES = {"z0": torch.randn(2, 3, 5), "z1": torch.randn(2, 4, 5), "t": torch.tensor([0.1, 0.9])}


def program(largest):
    return program_of(norms_as_nodes(Scales().eval()), EXAMPLES, largest)


def test_inputs_have_the_names_that_a_plan_is_called_by():
    exported = program(8)
    names = [node.name for node in exported.graph.nodes if node.op == "placeholder"]
    assert [name for name in names if not name.startswith("p_")] == list(EXAMPLES)


def test_norms_are_taken_apart_as_the_compiler_knows_no_node_of_ours():
    targets = {str(node.target) for node in program(8).graph.nodes}
    assert not [target for target in targets if target.startswith("dimr")]
    assert "aten.sigmoid.default" in targets


def test_any_number_of_rows_up_to_the_largest_is_taken_one_alone_too():
    network = Scales().eval()
    for largest in (1, 8):
        called = program_of(norms_as_nodes(network), EXAMPLES, largest).module()
        one = {name: value[:1] for name, value in EXAMPLES.items()}
        torch.testing.assert_close(called(*one.values()), network(*one.values()))
