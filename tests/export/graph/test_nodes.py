import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from export.graph.nodes import DOMAIN, OPSET, LayerNormNode, RMSNormNode, functions, norms_as_nodes
from model.layers.norm import TDLayerNorm, TDRMSNorm

NORMS = [TDRMSNorm, TDLayerNorm]
TAU = torch.tensor([-1.0, 0.3, 1.0])


def norm_of(kind, dim=21):
    torch.manual_seed(0)
    norm = kind(dim).requires_grad_(requires_grad=False)
    for parameter in norm.parameters():
        parameter.add_(torch.randn_like(parameter))
    return norm


def graph_of(norm, kind):
    """A model of one node, with the norm's own tensors."""
    vectors = {name.replace(".", "_"): value.numpy() for name, value in norm.named_parameters()}
    op = {TDRMSNorm: "TDRMSNorm", TDLayerNorm: "TDLayerNorm"}[type(norm)]
    shape = ["batch", None, None]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "tau", *vectors], ["y"], domain=DOMAIN)],
        "one node",
        [
            helper.make_tensor_value_info("x", kind, shape),
            helper.make_tensor_value_info("tau", TensorProto.FLOAT, ["batch"]),
        ],
        [helper.make_tensor_value_info("y", kind, shape)],
        [onnx.numpy_helper.from_array(value, name) for name, value in vectors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, functions=functions(), opset_imports=opsets, ir_version=11)


@pytest.mark.parametrize("shape", [(3, 5, 21), (3, 2, 4, 21)])
@pytest.mark.parametrize("kind", NORMS)
def test_a_node_gives_what_the_norm_gives(kind, shape):
    norm = norm_of(kind)
    x = torch.randn(shape)
    node = norms_as_nodes(nn.ModuleDict({"norm": norm})).get_submodule("norm")
    torch.testing.assert_close(node(x, TAU), norm(x, TAU))


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
@pytest.mark.parametrize("kind", NORMS)
def test_the_body_of_a_function_gives_what_the_norm_gives(run, kind, scale):
    norm = norm_of(kind)
    x = scale * torch.randn(3, 5, 21)
    session = run(graph_of(norm, TensorProto.FLOAT))
    (found,) = session.run(None, {"x": x.numpy(), "tau": TAU.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), norm(x, TAU), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", NORMS)
def test_the_body_computes_in_float32_whatever_it_is_given(run, kind):
    norm = norm_of(kind)
    x = (20_000 * torch.randn(3, 5, 21)).clamp(-60_000, 60_000).half()  # squares overflow float16
    session = run(graph_of(norm, TensorProto.FLOAT16))
    (found,) = session.run(None, {"x": x.numpy(), "tau": TAU.numpy()})
    assert found.dtype == "float16"
    torch.testing.assert_close(torch.from_numpy(found), norm(x, TAU), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", NORMS)
def test_a_function_is_sound(kind):
    onnx.checker.check_model(graph_of(norm_of(kind), TensorProto.FLOAT), full_check=True)


def test_the_network_itself_keeps_its_norms_and_shares_its_tensors():
    network = nn.Sequential(norm_of(TDRMSNorm), nn.Sequential(norm_of(TDLayerNorm)))
    copied = norms_as_nodes(network)
    norms = [type(network.get_submodule(name)) for name in ("0", "1.0")]
    assert norms == [TDRMSNorm, TDLayerNorm]
    nodes = [type(copied.get_submodule(name)) for name in ("0", "1.0")]
    assert nodes == [RMSNormNode, LayerNormNode]
    ours, theirs = dict(network.named_parameters()), dict(copied.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(theirs[name] is parameter for name, parameter in ours.items())
