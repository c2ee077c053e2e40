import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest
import tensorrt_rtx
import torch
import triton

from export.graph import nodes
from export.kernels.ahead import compile_ahead, forward_form
from export.kernels.errors import PluginRefused, TargetUnfit, TensorRTAbsent
from export.kernels.plugin import (
    NODES,
    inputs,
    launch,
    plugin_id,
    register,
    type_combinations,
    with_namespace,
    without_scratch,
)
from model.specs.networks import Norm

pytestmark = pytest.mark.usefixtures("compiler")


def parameters_of(ptx, entry):
    """Types of the parameters of an entry, in order."""
    listed = re.search(rf"\.visible \.entry {entry}\((.*?)\)", ptx, re.DOTALL)
    assert listed is not None
    return re.findall(r"\.param (\.\w+)", listed[1])


@pytest.mark.parametrize("norm", list(NODES))
def test_a_launch_passes_what_the_code_takes(norm):
    made = launch(norm, torch.float16, (3, 257, 960), 960)
    assert made.entry == "td_norm_whole"
    assert made.grid == 3 * 65  # of four rows each
    assert made.threads == 128
    assert made.scalars == (257, 960)
    tensors = [".u64"] * len(inputs(norm))
    assert parameters_of(made.ptx, made.entry) == [*tensors, ".u32", ".u32", ".u64"]
    assert "\n.target sm_80\n" in made.ptx


@pytest.mark.parametrize(
    ("shape", "grid", "rows"),
    [((2, 960), 2, 1), ((2, 8, 9, 960), 2 * 18, 72), ((1, 3, 38400), 1, 3)],
)
def test_rows_are_counted_whatever_the_axes(shape, grid, rows):
    made = launch(Norm.TD_RMSNORM, torch.float16, shape, shape[-1])
    assert (made.grid, made.scalars) == (grid, (rows, shape[-1]))


def test_code_without_scratch_still_assembles(tmp_path):
    compiled = compile_ahead(forward_form(Norm.TD_LAYERNORM, torch.float16, 960), 80)
    (source := tmp_path / "norm.ptx").write_text(without_scratch(compiled))
    ptxas = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    command = [ptxas, "--gpu-name", "sm_80", source, "--output-file", tmp_path / "norm.cubin"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "norm.cubin").stat().st_size > 0


def test_plugins_bear_the_names_of_the_nodes():
    assert set(NODES.values()) == set(nodes.NODE_TYPES)
    assert {plugin_id(norm).split("::")[0] for norm in NODES} == {nodes.DOMAIN}


def test_plugins_take_what_the_nodes_take():
    taken = {function.name: tuple(function.input) for function in nodes.functions()}
    assert taken == {NODES[norm]: inputs(norm) for norm in NODES}


def test_types_combine_rows_of_one_type_with_float32():
    of_each = [types.split("|") for types in type_combinations(Norm.TD_RMSNORM).split(", ")]
    assert len(of_each) == len(inputs(Norm.TD_RMSNORM)) + 1
    assert of_each[0] == of_each[-1] == ["FP16", "BF16", "FP32"]
    assert all(types == ["FP32"] * 3 for types in of_each[1:-1])


def test_a_marked_model_names_the_namespace_on_norms_alone():
    body = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 23, "dimr" : 1]>'
        "g (float[B, 4] x, float[B] t) => (float[B, 4] y)"
        "{ a = dimr.TDRMSNorm (x, t)  y = Relu (a) }"
    )
    marked = with_namespace(body)
    norm, other = marked.graph.node
    assert [(a.name, a.s) for a in norm.attribute] == [("plugin_namespace", b"dimr")]
    assert not other.attribute
    assert not body.graph.node[0].attribute


def test_tensorrt_rtx_is_refused_a_plugin():
    with pytest.raises(PluginRefused, match="got tensorrt_rtx; allowed: tensorrt"):
        register(tensorrt_rtx)


def test_without_full_tensorrt_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(TensorRTAbsent, match=r"run: pip install 'dimr-serve\[trt\]'"):
        register(ModuleType("tensorrt"))


def test_a_norm_without_a_kernel_is_refused():
    with pytest.raises(TargetUnfit, match="norm: got layernorm"):
        launch(Norm.LAYERNORM, torch.float16, (1, 2, 8), 8)
