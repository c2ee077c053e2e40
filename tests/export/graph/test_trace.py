import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from export.graph import trace
from export.graph.parts import Part
from export.graph.precision import Precision
from export.graph.trace import GraphRefused, OnnxAbsent, to_onnx, write_onnx

ROOT = Path(__file__).parents[3]
AGAIN = """
import sys
from pathlib import Path
import torch
from export.graph.parts import denoiser_parts
from export.graph.precision import Precision
from export.graph.trace import to_onnx, write_onnx
network, out = sys.argv[1:]
(part,) = denoiser_parts(torch.load(network, weights_only=False))
write_onnx(to_onnx(part, precision=Precision.FP16, max_batch=16), Path(out))
"""

pytestmark = pytest.mark.xdist_group("graph")  # shares what test_families traces


class Around(nn.Module):
    """A part whose network has one odd module."""

    def __init__(self, odd):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 4), odd)

    def forward(self, x):
        return (self.network(x),)


class Airy(nn.Module):
    def forward(self, x):
        return torch.special.airy_ai(x)


class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


def part_around(module):
    return Part("denoiser", Around(module).eval(), {"x": torch.randn(2, 4)}, ("y",))


def written(part):
    model = to_onnx(part, precision=Precision.FP32, max_batch=4)
    return model.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def simple():
    """A model that is traced quickly."""
    return to_onnx(part_around(nn.ReLU()), precision=Precision.FP32, max_batch=4)


def test_the_batch_is_free_and_the_boundary_is_float32(exported):
    graph = exported("dimr-m3r-64", Precision.FP16).model.graph
    values = {value.name: value.type.tensor_type for value in (*graph.input, *graph.output)}
    assert list(values) == ["x", "t", "y", "prediction"]
    assert {values[name].elem_type for name in ("x", "t", "prediction")} == {TensorProto.FLOAT}
    assert values["y"].elem_type == TensorProto.INT64
    batches = {value.shape.dim[0].dim_param for value in values.values()}
    assert len(batches) == 1
    assert "" not in batches
    assert [axis.dim_value for axis in values["x"].shape.dim[1:]] == [3, 8, 8]


def test_every_norm_has_a_local_function(exported):
    model = exported("dimr-m3r-64", Precision.FP32).model
    assert {(f.domain, f.name) for f in model.functions} == {
        ("dimr", "TDRMSNorm"),
        ("dimr", "TDLayerNorm"),
    }
    node = next(node for node in model.graph.node if node.op_type == "TDRMSNorm")
    assert len(node.input) == 6
    assert node.input[2] == "stages.0.trunk.blocks.0.attention.norm.scale.first"


def test_no_weight_is_stored_that_nothing_reads(exported):
    graph = exported("dimr-m3r-64", Precision.FP32).model.graph
    read = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= read


def test_nothing_of_this_machine_is_in_a_graph(exported):
    content = exported("dimr-m3r-64", Precision.FP32).model.SerializeToString()
    for trace_of_it in (str(ROOT), sys.prefix, ".py", "torch", "forward"):
        assert trace_of_it.encode() not in content


def test_the_same_part_gives_the_same_bytes_and_other_weights_give_others():
    part = part_around(nn.ReLU())
    first, again = written(part), written(part)
    assert first == again
    part.module.network[0].weight.data.add_(1)
    assert written(part) != first


def test_the_same_network_gives_the_same_bytes_in_another_process(exported, tmp_path):
    found = exported("dimr-m3r-64", Precision.FP16)
    torch.save(found.part.module.network, tmp_path / "network.pt")
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    said = subprocess.run(
        [sys.executable, "-c", AGAIN, "network.pt", "again.onnx"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    )
    assert (said.stdout, said.stderr) == ("", "")
    (ours,) = write_onnx(found.model, tmp_path / "ours.onnx")
    first, again = (path.read_bytes() for path in (ours, tmp_path / "again.onnx"))
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(again).hexdigest()


def test_an_op_without_translation_is_named_with_its_module():
    with pytest.raises(GraphRefused, match=r"'denoiser': module '1': .*aten\.special_airy_ai"):
        to_onnx(part_around(Airy()), precision=Precision.FP32, max_batch=4)


def test_what_cannot_be_traced_is_named_with_its_module_and_line(capfd):
    with pytest.raises(GraphRefused, match=r"module '1': cannot be traced at 'if x\.sum\(\) > 0:'"):
        to_onnx(part_around(Branching()), precision=Precision.FP32, max_batch=4)
    assert capfd.readouterr().err == ""


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="max_batch: got 0; allowed: 1 or more"):
        to_onnx(part_around(nn.ReLU()), precision=Precision.FP32, max_batch=0)


def test_a_batch_of_one_alone_is_taken(run):
    part = part_around(nn.ReLU())
    session = run(to_onnx(part, precision=Precision.FP32, max_batch=1))
    (y,) = session.run(None, {"x": part.inputs["x"][:1].numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(y), part.module(part.inputs["x"][:1])[0])


def test_without_onnxscript_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(OnnxAbsent, match=r"onnxscript .*pip install 'dimr-serve\[export\]'"):
        to_onnx(part_around(nn.ReLU()), precision=Precision.FP32, max_batch=4)


def test_weights_too_large_for_a_file_lie_beside_it(monkeypatch, tmp_path, exported, run):
    found = exported("dimr-m3r-64", Precision.FP32)
    before = found.model.SerializeToString(deterministic=True)
    monkeypatch.setattr(trace, "LARGEST_BYTES", 1000)
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written = write_onnx(found.model, tmp_path / name / "denoiser.onnx")
        assert [path.name for path in written] == ["denoiser.onnx", "denoiser.onnx.data"]
        contents.append([path.read_bytes() for path in written])
    assert contents[0] == contents[1]
    assert len(contents[0][0]) < len(before)
    assert found.model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(str(tmp_path / "a" / "denoiser.onnx"), full_check=True)
    trace._check(found.model, "denoiser")
    inputs = found.rows(3)
    (y,) = run(tmp_path / "a" / "denoiser.onnx").run(
        None, {k: v.numpy() for k, v in inputs.items()}
    )
    torch.testing.assert_close(torch.from_numpy(y), found.found(inputs)[0])


def test_a_disk_without_room_for_the_check_is_named(monkeypatch, tmp_path, simple):
    monkeypatch.setattr(trace, "LARGEST_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(GraphRefused, match=r"for its check: No such file.*; set TMPDIR to a fold"):
        trace._check(simple, "denoiser")


def test_a_model_that_fits_is_one_file(tmp_path, simple):
    (path,) = write_onnx(simple, tmp_path / "denoiser.onnx")
    assert onnx.load(path) == simple
    assert list(tmp_path.iterdir()) == [path]
