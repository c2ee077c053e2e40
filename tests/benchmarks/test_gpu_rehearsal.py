"""The GPU's benchmark runs from end to end where there is no GPU, and never claims to have one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks.__main__ import main
from tests.benchmarks.gpu.__main__ import main as run_section
from tests.benchmarks.gpu.clock import series
from tests.benchmarks.gpu.run import ALL_S
from tests.benchmarks.gpu.sections import SECTIONS, carry_out
from tests.benchmarks.gpu.setting import Setting

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.xdist_group("gpu-rehearsal")  # one rehearsal for all


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu") / "rehearsal.json"
    command = [sys.executable, "-m", "tests.benchmarks", "gpu", "--rehearse", "--out", str(out)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.fixture
def left_out(tmp_path):
    """The cases of a section in the order in which they are begun, had it the time."""

    def of(section):
        setting = Setting(torch.device("cpu"), tmp_path / "out.json", tmp_path, {}, ends=0.0)
        carry_out(section, setting)
        assert not setting.figures
        assert set(setting.errors.values()) == {"left out: the section's time was over"}
        return list(setting.errors)

    return of


def figures(document, section):
    return document["sections"][section]["figures"]


@pytest.mark.slow
def test_a_rehearsal_says_so_and_names_no_gpu(rehearsed):
    document, printed = rehearsed
    assert document["rehearsal"] is True
    assert document["hardware"]["gpu"] is None
    assert "no figure in here is a GPU's" in document["note"]
    assert printed.count("REHEARSAL on a CPU") == len(SECTIONS)
    assert {"date", "machine", "command", "torch", "versions", "seconds"} <= document.keys()


@pytest.mark.slow
def test_every_section_ends_with_figures_or_with_the_reason(rehearsed):
    document, _ = rehearsed
    assert list(document["sections"]) == list(SECTIONS)
    for section in document["sections"].values():
        assert section["state"] in {"done", "partly done", "failed"}
        assert section["figures"] or section["errors"]
        assert "section" not in section["errors"]
    complete = {"ceilings", "kernels", "tensorrt-rtx", "torch.compile", "onnx"}
    assert {document["sections"][name]["state"] for name in complete} == {"done"}


@pytest.mark.slow
def test_kernels_are_checked_and_put_against_torch_and_the_copy(rehearsed):
    document, _ = rehearsed
    kernels = figures(document, "kernels")
    norm = kernels["td-rmsnorm 2x5x40 bf16"]
    assert norm["errors"].keys() == {"forward", "added", "sum", "backward"}
    assert max(norm["errors"].values()) < 1.6e-2
    for direction in ("forward", "added", "backward"):
        assert norm[direction]["triton"]["of_copy"] > 0
        assert norm[direction]["torch_over_triton"] > 0
    assert kernels["update of 3 latents"]["errors"]["largest"] <= 1e-5
    served = kernels["td-layernorm 2x3x40 bf16 in a graph"]
    assert served["errors"]["forward"] < 1.6e-2
    assert served["forward"]["torch_over_triton"] > 0
    compiled = kernels["td-rmsnorm 2x5x40 bf16 by torch.compile"]
    assert compiled["forward"]["torch.compile"]["of_copy"] > 0


@pytest.mark.slow
def test_calls_and_engines_have_rates_and_parity(rehearsed):
    document, _ = rehearsed
    call = figures(document, "eager")["eager bf16, 2 rows"]
    assert 0 < call["error"] < 0.1
    assert call["launched"]["utilisation"] > 0
    engine = figures(document, "onnx")
    assert engine["onnx, tick of 4 rows"]["median_s"] > 0
    assert engine["onnx, 3 steps"]["images_per_s"] > 0
    assert engine["onnx, parity"]["distinct_images"] == engine["onnx, parity"]["images"] == 2


@pytest.mark.slow
def test_engines_that_are_not_here_are_refused_by_name(rehearsed):
    document, _ = rehearsed
    refused = document["sections"]["engines"]["errors"]["pytorch-cuda, open"]
    assert "does not run on device 'cpu'" in refused
    absent = document["sections"]["tensorrt"]["errors"]["compiler"]
    assert "run: pip install 'dimr-serve[trt]'" in absent


def test_what_is_worth_most_has_its_time_whatever_the_others_take():
    """Of sections that all run into their limits, these are begun with all of theirs left."""
    begun, left = {}, ALL_S
    for name, section in SECTIONS.items():
        begun[name] = left
        left -= section.budget_s
    for name in ("kernels", "engines", "tensorrt-rtx"):
        assert begun[name] >= SECTIONS[name].budget_s
    assert begun["tensorrt-rtx"] >= 360
    assert begun["tensorrt-rtx-large"] >= 150
    assert begun["torch.compile"] == min(begun[n] for n in SECTIONS if n != "onnx")


def test_an_engine_is_measured_before_its_reference(left_out):
    assert left_out("engines") == ["pytorch-cuda, open", "pytorch, open"]


def test_kernels_are_measured_as_they_serve_first_and_by_other_compilers_last(left_out):
    cases = left_out("kernels")
    assert cases[:2] == ["td-layernorm 2x3x40 bf16 in a graph", "update of 2 in a graph"]
    assert [name.endswith("by torch.compile") for name in cases].index(True) == len(cases) - 2


def test_slow_calls_are_not_repeated_beyond_their_time():
    called = []
    assert len(series(lambda: called.append(1), most=40, limit_s=0.0)) == len(called) == 2
    assert len(series(lambda: None, most=5, limit_s=1e9)) == 5


def test_a_section_ends_when_the_whole_run_wants_it_to(tmp_path):
    out = tmp_path / "ceilings.json"
    options = {"--device": "cpu", "--out": out, "--scratch": tmp_path, "--ends": "0"}
    given = [str(part) for option in options.items() for part in option]
    assert run_section(["ceilings", *given]) == 0
    document = json.loads(out.read_text())
    assert document["figures"] == {}
    assert list(document["errors"]) == ["copy", "matmul fp16", "matmul bf16", "matmul fp32"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="is refused only where there is no GPU")
def test_without_a_gpu_only_a_rehearsal_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu"])
    assert main() == 2
    assert "allowed: on a CUDA machine, or with --rehearse" in capsys.readouterr().err
