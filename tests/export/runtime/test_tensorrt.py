"""TensorRT-RTX itself, as far as it goes without a GPU, and what it compiled, kept."""

import logging
from types import SimpleNamespace

import pytest
import tensorrt_rtx
import torch

from export.runtime import planned
from export.runtime.kept import Kept
from export.runtime.loading import CompiledAtStart
from export.runtime.refusal import EngineRefused
from export.runtime.site import Site
from export.runtime.tensorrt import PlanRefused, PlanUnsupported, open_runtime, refusal_of
from model.bundle import load_bundle

CPU = torch.device("cpu")


@pytest.fixture
def runtime():
    return open_runtime("tensorrt-rtx", None)


def test_the_runtime_names_the_version_that_manifests_name(runtime):
    assert runtime.library == f"tensorrt_rtx {tensorrt_rtx.__version__}"
    assert runtime.portable


def test_bytes_that_are_no_plan_are_refused(runtime):
    with pytest.raises(PlanRefused, match=r"not valid here .*MALFORMED_ENGINE"):
        runtime.open(b"no plan" * 100, "key")


def test_a_gpu_that_the_library_does_not_know_is_told_from_a_plan_that_is_damaged():
    names = tensorrt_rtx.EngineInvalidityDiagnostics.__members__
    assert {"UNSUPPORTED_CC", "MALFORMED_ENGINE"} <= names.keys()
    assert type(refusal_of(["UNSUPPORTED_CC"], [])) is PlanUnsupported
    damaged = refusal_of(["MALFORMED_ENGINE"], ["so it says"])
    assert type(damaged) is PlanRefused
    assert str(damaged) == "it is not valid here (MALFORMED_ENGINE); so it says"
    assert str(refusal_of(None, [])) == "no reason"


@pytest.fixture(scope="module")
def plan():
    """A real plan, of one addition."""
    logger = tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR)
    builder = tensorrt_rtx.Builder(logger)
    network = builder.create_network(0)
    x = network.add_input("x", tensorrt_rtx.float32, (-1, 8))
    total = network.add_elementwise(x, x, tensorrt_rtx.ElementWiseOperation.SUM)
    network.mark_output(total.get_output(0))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(tensorrt_rtx.ComputeCapability.SM80, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 8), (4, 8), (4, 8))
    config.add_optimization_profile(profile)
    return bytes(memoryview(builder.build_serialized_network(network, config)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="checks the refusal without a driver")
def test_a_plan_without_a_gpu_is_refused_with_the_librarys_words(runtime, plan):
    with pytest.raises(PlanRefused, match="not valid here"):
        runtime.open(plan, "key")


def test_what_was_compiled_is_there_at_the_next_start(tmp_path):
    kept = Kept(tmp_path / "engines" / "compiled")
    assert kept.read("a") == b""
    kept.write("a", b"kernels")
    kept.write("b", b"")
    assert kept.read("a") == b"kernels"
    assert kept.read("b") == b""
    assert len(list((tmp_path / "engines" / "compiled").iterdir())) == 1


def test_without_a_folder_nothing_is_kept():
    kept = Kept(None)
    kept.write("a", b"kernels")
    assert kept.read("a") == b""


def test_a_folder_that_cannot_be_used_costs_time_and_nothing_else(tmp_path, caplog):
    (tmp_path / "engines").write_bytes(b"")
    kept = Kept(tmp_path / "engines" / "compiled")
    with caplog.at_level(logging.WARNING):
        kept.write("a", b"kernels")
        assert kept.read("a") == b""
    assert caplog.messages == ["compiled kernels not kept", "compiled kernels not read"]


def test_a_cache_that_the_library_does_not_write_is_none():
    cache = SimpleNamespace(serialize=lambda: None)
    assert CompiledAtStart(tensorrt_rtx).content(cache) == b""


def test_without_the_library_it_is_said_what_to_install():
    with pytest.raises(EngineRefused, match=r"'tensorrt'.*pip install 'dimr-serve\[trt\]'"):
        open_runtime("tensorrt", None)


def test_a_bundle_without_plans_is_refused_before_the_library_is_looked_for(tiny_folder):
    site = Site(tiny_folder, load_bundle(tiny_folder), CPU, 2)
    with pytest.raises(EngineRefused, match=r"run: dimr-export build .* --backend tensorrt$"):
        planned.tensorrt_backend(site, "asked for by name")
