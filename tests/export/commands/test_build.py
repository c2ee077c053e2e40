"""dimr-export build: what it says and writes, and the one line that it refuses with."""

import json
import shutil
from pathlib import Path

import onnxruntime
import pytest
import torch

from export.__main__ import main
from export.graph.parts import parts_of
from model.bundle import load_bundle, read_manifest, write_manifest

SHIPPED = Path(__file__).parents[3] / "deploy" / "models" / "emoji-32"


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    """emoji-32 without the engine that comes with it."""
    without = shutil.ignore_patterns("engines")
    copy = shutil.copytree(SHIPPED, tmp_path / "bundle", ignore=without)
    manifest = read_manifest(copy)
    files = {n: entry for n, entry in manifest.files.items() if not n.startswith("engines/")}
    write_manifest(copy, manifest.model_copy(update={"files": files, "engines": ()}))
    return copy


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_build_is_reported_gives_what_the_network_gives_and_is_a_cache_hit_the_next_time(
    folder, tmp_path, capsys
):
    report = tmp_path / "report.json"
    command = ("build", folder, "--backend", "onnx", "--report", report)
    assert run(*command) == 0
    assert "bundle emoji-32" in capsys.readouterr().out
    document = json.loads(report.read_text())
    assert document["td_norms"] == 16
    assert document["td_norms_single_kernel"] is None
    assert document["plan_bytes"] > 1_000_000
    assert not document["cache_hit"]
    bundle = load_bundle(folder)
    (part,) = parts_of(bundle)
    session = onnxruntime.InferenceSession(folder / bundle.manifest.engines[0].file)
    (found,) = session.run(None, {name: value.numpy() for name, value in part.inputs.items()})
    with torch.no_grad():
        (wanted,) = part.module(*part.inputs.values())
    scale = wanted.abs().max().item()
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=0, atol=1e-5 * scale)
    assert run(*command) == 0
    assert "denoiser: cache hit" in capsys.readouterr().out
    assert json.loads(report.read_text())["cache_hit"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--backend", "cuda"), "argument --backend"),
        ((), "--backend"),
        (("--backend", "tensorrt-rtx", "--arch", "sm90"), "arch: got 'sm90'; allowed: sm80"),
        (("--backend", "onnx", "--arch", "sm80"), "allowed: none with the backend onnx"),
        (("--backend", "onnx", "--buckets", "0"), "argument --buckets: got '0'; allowed"),
        (("--backend", "onnx", "--buckets", "1,x"), "argument --buckets: got 'x'; allowed"),
        (("--backend", "onnx", "--precision", "int8"), "got 'int8'; allowed: fp32, fp16"),
        (("--backend", "onnx", "--workspace-mib", "0"), "argument --workspace-mib: got '0'"),
        (("--backend", "onnx", "--report", "/nowhere/r.json"), "argument --report: got /nowhere"),
        (("--backend", "onnx", "--parts", "decoder"), "parts: got decoder; allowed: denoiser"),
    ],
)
def test_a_bad_argument_is_refused_in_one_line(folder, capsys, arguments, named):
    assert run("build", folder, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimr-export: ")
    assert named in line
    assert not (folder / "engines").exists()


def test_an_unknown_bundle_is_refused(tmp_path, capsys):
    assert run("build", tmp_path / "absent", "--backend", "onnx") == 2
    assert "is no bundle: it has no manifest.json" in capsys.readouterr().err


def test_the_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        run("build", "--help")
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "examples:\n  dimr-export build" in said
    assert "one kernel" in said
