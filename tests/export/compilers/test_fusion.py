"""The fusion report: what it says of real builds, and of a graph that is split on purpose."""

import pytest
from onnx import checker, parser

from export.compilers.fusion import DumpUnreadable, fusion_report, parse_layers
from export.compilers.library import open_library
from export.compilers.options import Silence

GRAPH = """
<ir_version: 10, opset_import: ["": 23, "dimr": 1]>
denoiser (float[batch, 16, 32] x, float[batch] tau, float[32, 32] w) => (float[batch, 16, 32] out)
{
   [in] before = MatMul (x, w)
   [first] unit = dimr.TDRMSNorm (before, tau)
   BETWEEN
   [out] out = MatMul (after, w)
}
<domain: "dimr", opset_import: ["": 23]>
TDRMSNorm (x, tau) => (y)
{
   last = Constant <value_ints = [-1]> ()
   axes = Constant <value_ints = [1, 2]> ()
   one = Constant <value_float = 1.0> ()
   gate_flat = Sigmoid (tau)
   gate = Unsqueeze (gate_flat, axes)
   square = Mul (x, x)
   power = ReduceMean <keepdims = 1> (square, last)
   raised = Add (power, one)
   root = Sqrt (raised)
   unit = Div (x, root)
   y = Mul (unit, gate)
}
"""


def built(tmp_path, options, between, graph=GRAPH):
    """A graph, and what its build logs."""
    model = parser.parse_model(graph.replace("BETWEEN", between))
    checker.check_model(model)
    path = tmp_path / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    plan = open_library("tensorrt-rtx").build("denoiser", path, options, Silence())
    return model, plan.records


def record(name, kind, nodes, *, profile=None):
    mark = "" if profile is None else f" [profile {profile}]"
    listed = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {{ Name: x{mark}, Dimensions: [-1] }}], "
        f"Constants: [], Outputs: [], TacticName: t, StreamId: 0, Metadata: {listed}"
    )


def norm(inner):
    return f"node_of_{inner} | first (TDRMSNorm)"


@pytest.fixture
def model():
    return parser.parse_model(GRAPH.replace("BETWEEN", "[mid] after = Relu (unit)"))


def test_a_norm_between_matrices_is_one_kernel(tmp_path, options):
    report = fusion_report(*built(tmp_path, options, "[mid] after = Relu (unit)"))
    assert (report.td_norms, report.td_norms_single_kernel) == (1, 1)
    assert report.attentions == 0
    assert sum(report.layers[0].values()) >= 3


def test_a_norm_that_is_transposed_afterwards_is_split_and_the_report_says_so(tmp_path, options):
    between = """
    [there] columns = Transpose <perm = [0, 2, 1]> (unit)
    [mid] positive = Relu (columns)
    [back] after = Transpose <perm = [0, 2, 1]> (positive)
    """
    report = fusion_report(*built(tmp_path, options, between))
    assert report.split == {"first": 2}
    assert (report.td_norms, report.td_norms_single_kernel) == (1, 0)


def test_a_softmax_alone_is_an_attention_that_is_not_fused(tmp_path, options):
    between = "[soft] after = Softmax <axis = -1> (unit)"
    report = fusion_report(*built(tmp_path, options, between))
    assert (report.attentions, report.attentions_fused, report.unfused) == (1, 0, ("soft",))


def test_a_split_norm_is_named_with_its_layers(model):
    dump = [
        record("stats_myl0_1", "kgen", [norm("square"), norm("power")]),
        record("apply_myl0_2", "kgen", [norm("unit"), norm("y")]),
    ]
    report = fusion_report(model, ["Layers:", *dump])
    assert report.split == {"first": 2}
    assert report.td_norms_single_kernel == 0


def test_gates_in_a_kernel_of_their_own_are_no_split(model):
    dump = [
        record("gate_myl0_0", "kgen", [norm("gate_flat"), norm("gate")]),
        record("norm_myl0_1", "kgen", [norm("square"), norm("unit"), norm("y"), norm("gate")]),
    ]
    assert fusion_report(model, ["Layers:", *dump]).td_norms_single_kernel == 1


def test_a_norm_that_is_split_in_one_profile_alone_is_split(model):
    dump = [
        record("norm_myl0_1", "kgen", [norm("square"), norm("unit")]),
        record("other_myl1_0", "kgen", ["in"], profile=1),
        record("stats_myl1_1", "kgen", [norm("square")]),
        record("apply_myl1_2", "kgen", [norm("unit")]),
    ]
    report = fusion_report(model, ["Layers:", *dump], profiles=2)
    assert report.split == {"first": 2}
    assert [dict(counts) for counts in report.layers] == [{"kgen": 1}, {"kgen": 3}]


@pytest.mark.parametrize("profiles", [1, 3])
def test_a_dump_of_more_or_fewer_profiles_than_were_asked_for_is_no_report(model, profiles):
    dump = [
        record("norm_myl0_1", "kgen", [norm("square"), norm("unit")]),
        record("norm_myl1_0", "kgen", [norm("square"), norm("unit")], profile=1),
    ]
    with pytest.raises(DumpUnreadable, match=f"layers of profiles 0, 1 where there are {profiles}"):
        fusion_report(model, ["Layers:", *dump], profiles=profiles)


def test_a_norm_that_no_layer_lists_is_not_taken_for_fused(model):
    report = fusion_report(model, ["Layers:", record("gemm_myl0_0", "gemm", ["in", "out"])])
    assert report.split == {"first": 0}


def test_a_plugin_in_place_of_the_function_is_one_kernel(model):
    report = fusion_report(model, ["Layers:", record("first", "plugin", ["first"])])
    assert report.td_norms_single_kernel == 1


@pytest.mark.parametrize("size", [1, 2, 6], ids=["a record a line", "pairs", "one record"])
def test_records_of_many_lines_and_earlier_dumps_are_read(size):
    lines = ["Layers:", record("old_myl0_0", "gemm", ["in"])]
    lines += ["[V] Layers:", record("a+b_myl0_0", "kgen", ["a", "b"]), "Bindings:", "x"]
    records = ["\n".join(lines[k : k + size]) for k in range(0, len(lines), size)]
    assert [(layer.name, layer.kind, layer.nodes) for layer in parse_layers(records)] == [
        ("a+b_myl0_0", "kgen", ("a", "b"))
    ]


@pytest.mark.parametrize("records", [[], ["Layers:"], ["Name: x, LayerType: y, Metadata: "]])
def test_a_log_without_layers_is_no_report(records):
    with pytest.raises(DumpUnreadable, match="printed no layers"):
        parse_layers(records)
