"""ONNX Runtime against PyTorch on every named architecture."""

import onnx
import pytest

from export.compilers.compiler import open_compiler
from export.compilers.options import Options, Silence
from export.graph.precision import Precision
from export.graph.trace import count_attentions, count_td_norms, write_onnx
from model.layers.blocks import Attention
from model.layers.norm import TDLayerNorm, TDRMSNorm
from model.layers.unet import CrossAttention, SelfAttention

# One process of several, since each would trace them again.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("graph")]

FLOAT32 = 1e-5  # of the largest value: another order of summation
FLOAT16 = 5e-3  # float16 rounds by 5e-4 at every layer; the worst seen is the decoder's 3.8e-3
BATCHES = (1, 3, 16)

NAMED = ("dimr-xl2r-256", "dimr-m3r-64", "layered-512")
ABLATED = ("paper's text", "time token", "adaln-zero", "convolutions alone")
BASELINES = ("uvit", "uvit with td-ln", "uvit with adaln", "dit")
BESIDE = ("decoder", "t5", "clip")
IN_FLOAT16 = ("dimr-m3r-64", "layered-512", "uvit", "dit", "t5", "decoder")
COMPILED = [
    *((family, Precision.FP32) for family in ("layered-512", "decoder", "clip", "uvit with td-ln")),
    *((family, Precision.FP16) for family in ("layered-512", "decoder", "t5", "uvit", "dit")),
]


@pytest.mark.parametrize("family", [*NAMED, *ABLATED, *BASELINES, *BESIDE])
def test_a_graph_gives_what_pytorch_gives_at_every_batch_size(exported, family):
    found = exported(family, Precision.FP32)
    for count in BATCHES:
        assert found.error(count) < FLOAT32


@pytest.mark.parametrize(
    ("variant", "traced"),
    [
        ("dimr-l3r-64", "dimr-m3r-64"),
        ("dimr-g2r-256", "dimr-xl2r-256"),
        ("dimr-xl3r-512", "dimr-m3r-64"),
    ],
)
def test_a_variant_that_is_not_traced_is_one_that_is_but_for_sizes(part_of, variant, traced):
    specs = [part_of(name).module.network.spec for name in (variant, traced)]
    found, same = (spec.model_copy(update={"channels": 3}) for spec in specs)
    assert found == same


@pytest.mark.parametrize("family", IN_FLOAT16)
def test_a_graph_in_float16_is_close_to_pytorch_at_every_batch_size(exported, family):
    found = exported(family, Precision.FP16)
    for count in BATCHES:
        assert found.error(count) < FLOAT16


@pytest.mark.parametrize("family", [*NAMED, "paper's text", "uvit with td-ln"])
def test_every_time_dependent_norm_that_the_output_needs_is_one_node(exported, family):
    found = exported(family, Precision.FP32)
    network = found.part.module.network
    stages = getattr(network, "stages", ())
    below = tuple(f"stages.{index}.head." for index in range(len(stages) - 1))
    norms = {
        name
        for name, module in network.named_modules()
        if isinstance(module, TDLayerNorm | TDRMSNorm) and not name.startswith(below)
    }
    nodes = {node.name.split("/")[0] for node in found.model.graph.node if node.domain == "dimr"}
    assert nodes == norms
    assert count_td_norms(found.model) == len(norms)


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("family", ["dimr-m3r-64", "layered-512", "dit"])
def test_every_attention_is_one_node(exported, family, precision):
    found = exported(family, precision)
    kinds = (Attention, CrossAttention, SelfAttention)
    modules = sum(isinstance(module, kinds) for module in found.part.module.modules())
    assert count_attentions(found.model) == modules > 0
    assert "Softmax" not in {node.op_type for node in found.model.graph.node}


@pytest.mark.parametrize(("family", "precision"), COMPILED)
def test_a_graph_is_built_though_no_kernel_takes_its_attentions(
    exported, tmp_path, family, precision
):
    """They are in float32, or their heads are narrow."""
    found, compiler = exported(family, precision), open_compiler("tensorrt-rtx")
    options = Options(arch="sm80", precision=precision, buckets=(2,))
    copied = onnx.ModelProto()
    copied.CopyFrom(found.model)
    (graph,) = write_onnx(compiler.marked(copied, options), tmp_path / "graph.onnx")
    compiled = compiler.compile(found.part, graph, copied, options, Silence())
    assert compiled.content is not None
    assert compiled.fusion is not None
    assert compiled.fusion.attentions == count_attentions(found.model) > 0
    assert compiled.fusion.attentions_fused == 0
