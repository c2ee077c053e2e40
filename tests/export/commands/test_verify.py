"""dimr-export verify: what it says, writes and refuses; a damaged weight is found and named."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.__main__ import main
from export.commands.verify import faults_named
from export.compilers.rows import PatchRows
from export.runtime.plan import PlanFault
from model.bundle import file_entry, read_manifest, write_bundle, write_manifest
from model.denoisers.build import build_denoiser
from model.sampling.arguments import ArgumentRefused
from model.sampling.samplers import SamplerUnknown
from model.specs.manifest import Parity
from model.specs.recipe import Recipe

DAMAGED = 2  # a class

pytestmark = pytest.mark.xdist_group("parity")  # they share bundles that take seconds to build


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A bundle with graphs for the CPU in float32 and float16."""
    recipe = Recipe.model_validate(
        {
            "id": "tiny",
            "description": "for tests",
            "licence": "Apache-2.0",
            "data": {"kind": "emoji", "concepts": ["a", "b", "c"], "size": 16},
            "training": {"steps": 1, "batch": 1, "optimiser": {"rate": 1e-3}},
            "network": {
                "kind": "uvit",
                "size": 8,
                "channels": 12,
                "classes": 3,
                "dim": 24,
                "heads": 3,
                "patch": 2,
                "blocks": 1,
            },
            "process": {
                "codec": {"kind": "pixels", "factor": 2},
                "schedule": {"kind": "cosine"},
                "prediction": "velocity",
                "t_min": 0.01,
                "t_max": 0.99,
            },
            "sampling": {"sampler": "ddim", "grid": "time", "steps": 3, "guidance": 4.0},
        }
    )
    torch.manual_seed(0)
    network = build_denoiser(recipe.network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    folder = write_bundle(
        tmp_path_factory.mktemp("built") / "tiny", recipe, network, "abc", steps=1
    )
    for precision in ("fp32", "fp16"):
        assert run("build", folder, "--backend", "onnx", "--precision", precision) == 0
    return folder


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / "tiny")


def entry_of(folder, precision):
    (entry,) = (e for e in read_manifest(folder).engines if e.precision == precision)
    return entry


def damage(folder):
    """Change what the float32 graph knows of one class, and list it as if it were built so."""
    manifest = read_manifest(folder)
    file = entry_of(folder, "fp32").file
    model = onnx.load(folder / file)
    tables = [t for t in model.graph.initializer if t.dims and t.dims[0] == 4 and len(t.dims) == 2]
    assert tables, "a row for each class, and one for none"
    for table in tables:
        values = numpy_helper.to_array(table).copy()
        values[DAMAGED] *= np.float32(-20)
        table.CopyFrom(numpy_helper.from_array(values, table.name))
    (folder / file).write_bytes(model.SerializeToString())
    files = {**manifest.files, file: file_entry(folder / file)}
    write_manifest(folder, manifest.model_copy(update={"files": files}))


def test_the_graph_is_close_and_its_figures_are_kept_with_the_fp16_engine(folder, tmp_path, capsys):
    report = tmp_path / "parity.json"
    assert run("verify", folder, "--samples", 4, "--report", report) == 0
    said = capsys.readouterr().out
    assert "no plan was run" in said
    assert "dB at the worst of 4, class " in said
    document = json.loads(report.read_text())
    kept = entry_of(folder, "fp16").parity
    assert entry_of(folder, "fp32").parity is None
    assert document["recorded"] == [entry_of(folder, "fp16").file]
    assert kept["passed"]
    assert kept["engine"] == "graph"
    assert kept["image_psnr_db"] == document["image_psnr_db"]
    assert 40 < document["image_psnr_db"] == min(i["psnr_db"] for i in document["images"]) < 99
    assert [image["seed"] for image in document["images"]] == [0, 1, 2, 3]
    layers = document["layers"]["denoiser"]
    assert layers[-1]["layer"] == "prediction"
    assert all(1e-6 < layer["error"] < 0.02 for layer in layers)
    assert all(0 < call["error"] < 0.02 for call in document["calls"])
    assert document["islands"] == {"denoiser": []}
    assert "islands of denoiser: none; nothing but norms stays float32" in said


def test_a_damaged_weight_fails_and_the_worst_image_is_of_its_class(folder, tmp_path, capsys):
    report = tmp_path / "parity.json"
    command = ("verify", folder, "--engine", "onnx", "--images-only", "--report", report)
    damage(folder)
    with pytest.raises(SystemExit) as stop:
        run(*command, "--samples", 6)
    said = str(stop.value).splitlines()
    images, call = (line for line in said if line.startswith("dimr-export: "))
    assert f"dB at class {DAMAGED}, seed " in images
    assert "less than 40 dB in 2 of 6 images; allowed: 40 dB or more" in images
    assert f"relative error for class {DAMAGED}, seed " in call
    assert "allowed in float32: 0.001 or less" in call
    document = json.loads(report.read_text())
    assert document["failures"]
    assert {i["class"] for i in document["images"] if i["psnr_db"] < 40} == {DAMAGED}
    assert all(c["worst"]["class"] == DAMAGED for c in document["calls"] if c["error"] > 1e-3)
    kept = entry_of(folder, "fp32").parity
    assert not kept["passed"]
    assert kept["worst"]["class"] == DAMAGED
    assert entry_of(folder, "fp32").failed
    assert entry_of(folder, "fp16").parity is None

    loose = Parity(image_psnr_db=1, call_error_fp32=10, why="a toy")
    write_manifest(folder, read_manifest(folder).model_copy(update={"parity": loose}))
    assert run(*command, "--samples", 6) == 0
    assert "1 dB asked for (a toy)" in capsys.readouterr().out
    assert not entry_of(folder, "fp32").failed


def test_what_prepares_a_graph_for_plans_is_verified_with_it(folder, tmp_path, monkeypatch):
    right, report = PatchRows.forward, tmp_path / "parity.json"
    monkeypatch.setattr(PatchRows, "forward", lambda self, image: -right(self, image))
    command = ("verify", folder, "--samples", 1, "--steps", 1, "--images-only", "--report", report)
    with pytest.raises(SystemExit, match="image PSNR: got"):
        run(*command)
    document = json.loads(report.read_text())
    assert document["images"]
    assert document["calls"]
    assert (document["layers"], document["islands"]) == ({}, {})
    assert entry_of(folder, "fp16").failed


@pytest.fixture
def quickly(folder):
    """What verifies a graph without tracing one."""
    return ("verify", folder, "--engine", "onnx", "--samples", 1, "--steps", 1, "--images-only")


def test_figures_that_the_manifest_cannot_take_are_reported_all_the_same(
    folder, quickly, tmp_path, capsys, monkeypatch
):
    report = tmp_path / "parity.json"
    manifest, sync = folder / "manifest.json", os.fsync

    def full(file):
        if Path(f"/proc/self/fd/{file}").readlink().is_relative_to(folder):
            raise OSError(28, "No space left on device")
        sync(file)

    monkeypatch.setattr("os.fsync", full)
    before = manifest.read_bytes()
    assert run(*quickly, "--report", report) == 0
    said = f"{folder}: No space left on device; allowed: a bundle that can be written"
    assert f"not kept: {said}" in capsys.readouterr().out
    document = json.loads(report.read_text())
    assert document["unkept"] == said
    assert document["recorded"] == []
    assert document["images"]
    assert manifest.read_bytes() == before


def test_the_report_is_there_before_a_build_may_be_waited_for(
    folder, quickly, tmp_path, monkeypatch
):
    written, sync = [], os.fsync

    def noted(file):
        written.append(Path(f"/proc/self/fd/{file}").readlink().name)
        sync(file)

    monkeypatch.setattr("os.fsync", noted)
    assert run(*quickly, "--report", tmp_path / "parity.json") == 0
    assert [name.split(".json")[0] for name in written] == [".parity", ".manifest", ".parity"]
    document = json.loads((tmp_path / "parity.json").read_text())
    assert document["recorded"] == [entry_of(folder, "fp32").file]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PlanFault("no stream"),
            "engine 'tensorrt': no stream; build it again: dimr-export build ",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory.\nTried 1 GiB"),
            r"too little memory for 8 images .* \(CUDA out of memory\.\); end what else runs",
        ),
        (SamplerUnknown("sampler: got 'x'"), "sampler: got 'x'"),
        (
            PermissionError(13, "Permission denied", "labels.json"),
            "labels.json'; allowed: a bundle",
        ),
    ],
)
def test_what_keeps_an_engine_from_being_verified_is_said_in_one_line(error, said):
    with (
        pytest.raises(ArgumentRefused, match=said) as refused,
        faults_named(Path("bundle"), "tensorrt"),
    ):
        raise error
    assert len(str(refused.value).splitlines()) == 1


def test_graphs_need_a_place(folder, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert run("verify", folder) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "dimr-export:" in line]
    assert "graphs cannot be written aside: " in line
    assert "allowed: a TMPDIR with room" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it is verified, not refused")
@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx", "pytorch-cuda", "pytorch-compile"])
def test_an_engine_of_a_gpu_is_refused_without_one_and_says_what_to_run(folder, capsys, engine):
    before = (folder / "manifest.json").read_bytes()
    assert run("verify", folder, "--engine", engine) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"engine {engine!r}: it runs on a CUDA device alone" in line
    assert f"dimr-export verify {folder} --engine graph" in line
    assert (folder / "manifest.json").read_bytes() == before


def test_an_engine_that_the_bundle_lacks_is_refused_and_says_what_to_build(folder, capsys):
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"engines": ()}))
    assert run("verify", folder, "--engine", "onnx") == 2
    assert f"run: dimr-export build {folder} --backend onnx" in capsys.readouterr().err


def test_an_engine_that_was_changed_is_refused(folder, capsys):
    file = folder / entry_of(folder, "fp32").file
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    assert run("verify", folder, "--engine", "onnx") == 2
    assert "differs from the manifest's" in capsys.readouterr().err
    assert entry_of(folder, "fp32").parity is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--engine", "cuda"), "argument --engine"),
        (("--engine", "pytorch"), "argument --engine"),
        (("--samples", "0"), "argument --samples: got '0'; allowed"),
        (("--steps", "x"), "argument --steps: got 'x'; allowed"),
        (("--report", "/nowhere/r.json"), "argument --report: got /nowhere"),
    ],
)
def test_a_bad_argument_is_refused_in_one_line(folder, capsys, arguments, named):
    assert run("verify", folder, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimr-export: ")
    assert named in line


def test_an_unknown_bundle_is_refused(tmp_path, capsys):
    assert run("verify", tmp_path / "absent") == 2
    assert "is no bundle: it has no manifest.json" in capsys.readouterr().err


def test_the_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        run("verify", "--help")
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "examples:\n  dimr-export verify" in said
    assert "Exit status: 0 close enough, 1 not, 2 not verified" in said
