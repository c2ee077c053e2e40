"""The libraries: what is asked of them, and what they say when they refuse."""

import os
import signal
import threading
from dataclasses import replace

import pytest
import tensorrt_rtx
import torch
from onnx import parser

from export.compilers.compiler import open_compiler, settled
from export.compilers.errors import (
    CompilerAbsent,
    EngineUnbuilt,
    GraphUnparsed,
    NormsRefused,
    TargetRefused,
)
from export.compilers.library import _BY_BACKEND, Library, open_library
from export.compilers.listening import monitor_of, named_in
from export.compilers.options import Norms, Options, Silence, rising
from export.graph.precision import Precision

LINEAR = """
<ir_version: 10, opset_import: ["": 23]>
denoiser (float[batch, 8] x, float[8, 8] w) => (float[batch, 8] y)
{ [product] y = MatMul (x, w) }
"""


@pytest.fixture(scope="module")
def library():
    return open_library("tensorrt-rtx")


def written(tmp_path, text):
    path = tmp_path / "graph.onnx"
    path.write_bytes(parser.parse_model(text).SerializeToString())
    return path


class Heard(Silence):
    def __init__(self):
        self.stages = []
        self.steps = 0

    def began(self, part, stage, steps=None):
        self.stages.append(stage)

    def advanced(self, steps):
        self.steps += 1


def test_a_plan_is_built_and_its_phases_are_heard(library, tmp_path, options):
    heard = Heard()
    plan = library.build("denoiser", written(tmp_path, LINEAR), options, heard)
    assert len(plan.content) > 1000
    assert heard.stages[:2] == ["parsing", "Building engine"]
    assert heard.steps > 3


def test_phases_in_one_another_are_shown_one_at_a_time(library):
    class Bar(Silence):
        def __init__(self):
            self.shown = []

        def began(self, part, stage, steps=None):
            self.shown.append((stage, steps))

        def advanced(self, steps):
            self.shown.append(steps)

    bar, interrupted = Bar(), threading.Event()
    monitor = monitor_of(tensorrt_rtx, "denoiser", bar, interrupted)
    monitor.phase_start("outer", None, 4)
    monitor.step_complete("outer", 0)
    monitor.phase_start("inner", "outer", 2)
    assert monitor.step_complete("outer", 1)
    monitor.step_complete("inner", 0)
    monitor.phase_finish("inner")
    monitor.phase_finish("outer")
    assert bar.shown == [("outer", 4), 1, ("inner", 2), 1, ("outer", 4), 2]
    interrupted.set()
    assert not monitor.step_complete("outer", 2)


def test_a_workspace_is_limited(library, tmp_path, options):
    graph = written(tmp_path, LINEAR)
    assert library.build("denoiser", graph, replace(options, workspace_mib=64), Silence()).content
    with pytest.raises(EngineUnbuilt, match=r"no tactics .* within workspace limit"):
        library.build("denoiser", graph, replace(options, workspace_mib=1), Silence())


def test_the_name_has_package_and_version(library):
    assert library.name.startswith("tensorrt_rtx 1.")


@pytest.mark.parametrize("arch", ["sm80", "sm86", "sm89", "sm120"])
def test_architectures_are_those_of_the_library(library, arch):
    assert library.target(arch) == arch


@pytest.mark.parametrize("arch", ["sm75", "sm90", "SM80", "gpu"])
def test_another_architecture_is_refused_with_those_allowed(library, arch):
    with pytest.raises(TargetRefused, match=rf"got '{arch}'; allowed: sm80, sm86, sm89"):
        library.target(arch)


def test_the_oldest_architecture_is_the_usual_one(library, options):
    assert library.target(None) == "sm80"
    compiler = open_compiler("tensorrt-rtx")
    unsaid = Options(arch=None, precision=Precision.FP16, buckets=(2,))
    assert settled(compiler, unsaid) == options


def test_a_graph_for_a_cpu_has_no_architecture():
    with pytest.raises(TargetRefused, match="allowed: none with the backend onnx"):
        open_compiler("onnx").target("sm80")


def test_a_parser_error_names_the_node(library, tmp_path, options):
    text = LINEAR.replace("y = MatMul (x, w)", "y = NoSuchOp (x, w)")
    with pytest.raises(GraphUnparsed, match=r"part 'denoiser'.*node 'product' \(NoSuchOp\)"):
        library.build("denoiser", written(tmp_path, text), options, Silence())


def test_a_damaged_graph_is_refused(library, tmp_path, options):
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(GraphUnparsed, match="the parser of tensorrt_rtx"):
        library.build("denoiser", path, options, Silence())


def test_a_builder_error_is_raised_with_the_librarys_words(library, tmp_path, options):
    """Two inputs that are added have room for rows that cannot be equal."""
    text = LINEAR.replace("float[8, 8] w", "float[3, 8] w").replace("MatMul", "Add")
    path, options = written(tmp_path, text), replace(options, buckets=(16,))
    with pytest.raises(EngineUnbuilt, match=r"tensorrt_rtx .* builds no engine at product: \w+"):
        library.build("denoiser", path, options, Silence())


def test_layers_that_messages_name_are_found_by_whole_names():
    said = ["Multiple profiles; see Address", "at [MulAdd] of 'trunk.0/Add_1', node out/Mul."]
    names = ["Mul", "Add", "trunk.0/Add", "trunk.0/Add_1", "0/Add_1", "out/Mul", "MulAdd", ""]
    assert named_in(said, names) == ["trunk.0/Add_1", "out/Mul", "MulAdd"]


def test_an_interrupted_build_ends_at_its_next_step(library, tmp_path, options):
    class Interrupting(Silence):
        def began(self, part, stage, steps=None):
            if stage == "Building engine":
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        library.build("denoiser", written(tmp_path, LINEAR), options, Interrupting())
    assert library.build("denoiser", written(tmp_path, LINEAR), options, Silence()).content


def test_plugins_are_never_registered_with_tensorrt_rtx(library, tmp_path, options):
    plugins = replace(options, norms=Norms.PLUGIN)
    with pytest.raises(NormsRefused, match=r"got .plugin. with the backend .tensorrt-rtx.*allowed"):
        library.build("denoiser", written(tmp_path, LINEAR), plugins, Silence())
    assert not {creator.name for creator in library._trt.get_plugin_registry().all_creators} & {
        "TDLayerNorm",
        "TDRMSNorm",
    }


def test_a_library_that_cannot_have_the_plugins_says_so_and_what_else_to_do(tmp_path, options):
    """Taken for the full one, TensorRT-RTX is refused by the plugins themselves."""
    mistaken = Library(tensorrt_rtx, _BY_BACKEND["tensorrt"])
    plugins = replace(options, norms=Norms.PLUGIN)
    with pytest.raises(CompilerAbsent, match=r"got tensorrt_rtx; .*or --norms compiler"):
        mistaken.build("denoiser", written(tmp_path, LINEAR), plugins, Silence())


@pytest.mark.parametrize("backend", ["tensorrt-rtx", "onnx"])
def test_plugins_are_refused_before_anything_is_built(backend, options):
    with pytest.raises(NormsRefused, match=f"backend '{backend}'.*allowed: compiler, or the"):
        settled(open_compiler(backend), replace(options, arch=None, norms=Norms.PLUGIN))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is missing without a GPU")
@pytest.mark.parametrize(
    ("backend", "named"),
    [
        ("tensorrt", r"pip install 'dimr-serve\[trt\]'"),
        ("torch-tensorrt", "No module named 'torch_tensorrt'; .*pip install torch-tensorrt"),
    ],
)
def test_what_cannot_be_imported_says_what_to_install(backend, named):
    with pytest.raises(CompilerAbsent, match=rf"backend '{backend}' cannot be used here.*{named}"):
        open_compiler(backend)


@pytest.mark.parametrize(
    ("most_rows", "spans"),
    [(None, ((1, 1, 2), (1, 2, 2), (4, 8, 8))), (1, ((1, 1, 1), (1, 2, 2), (4, 8, 8)))],
)
def test_a_profile_is_never_of_one_number_of_rows_but_where_calls_have_one(
    options, most_rows, spans
):
    assert replace(options, buckets=(1, 2, 8), most_rows=most_rows).spans == spans


def test_buckets_rise_and_come_once():
    assert rising([4, 1, 4]) == (1, 4)
    with pytest.raises(ValueError, match="allowed: one or more"):
        rising([])
    with pytest.raises(ValueError, match=r"buckets: got \[4, 1\]; allowed: \[1, 4\]"):
        Options(arch=None, precision=Precision.FP16, buckets=(4, 1))
