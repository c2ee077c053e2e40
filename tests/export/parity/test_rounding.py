"""Graphs in float16 are float16 on a CPU too: what is too large for it overflows."""

import onnxruntime
import pytest
import torch
from onnx import parser

from export.parity.rounding import round_all

GRAPH = """
<ir_version: 10, opset_import: ["": 23]> g (float[N] x) => (float[N] y)
<float16[N] half, float16[N] grown, float16[N] back> {
  half = Cast <to = 10> (x)
  grown = Mul (half, half)
  back = Sqrt (grown)
  y = Cast <to = 1> (back)
}
"""


def result(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"x": x.numpy()})
    return torch.from_numpy(y)


def test_what_is_too_large_for_float16_overflows():
    model = parser.parse_model(GRAPH)
    assert round_all(model) == 3
    x = torch.tensor([2.0, 300.0])
    assert result(model, x).tolist() == [2.0, float("inf")]


def test_without_it_the_runtime_would_hide_that():
    assert result(parser.parse_model(GRAPH), torch.tensor([300.0])).item() == pytest.approx(300)


def test_results_between_operations_are_rounded():
    model = parser.parse_model(GRAPH)
    round_all(model)
    x = torch.linspace(1, 200, 50)
    half = x.half()
    torch.testing.assert_close(result(model, x), (half * half).sqrt().float(), rtol=0, atol=0)
