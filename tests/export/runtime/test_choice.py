"""Which engine serves a bundle: named ones are used or refused, and refusals say what to run."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from export.runtime import choice
from export.runtime.build import build_engine
from export.runtime.choice import check_engine
from export.runtime.eager import eager_backend
from export.runtime.refusal import EngineRefused
from model.bundle import BundleRefused, put_files, read_manifest, write_manifest

WANTED = {"condition": 1, "seed": 3, "steps": 6, "sampler": "dpmpp_2m", "guidance": 2.0, "size": 16}


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A bundle with an ONNX engine, to be spoilt."""
    return shutil.copytree(tiny_folder, tmp_path / "tiny")


@pytest.fixture
def bare(folder):
    """The same without engines."""
    manifest = read_manifest(folder)
    files = {n: e for n, e in manifest.files.items() if not n.startswith("engines/")}
    write_manifest(folder, manifest.model_copy(update={"engines": (), "files": files}))
    return folder


def build(folder, engine=None):
    return build_engine(folder, device="cpu", capacity=2, engine=engine)


def draw(engine):
    engine.admit(0, **WANTED)
    while not engine.step([0]):
        pass
    return engine.take(0)


def change(folder, **changes):
    """Rewrite the one engine entry."""
    manifest = read_manifest(folder)
    entries = tuple(entry.model_copy(update=changes) for entry in manifest.engines)
    write_manifest(folder, manifest.model_copy(update={"engines": entries}))


@pytest.mark.parametrize("name", ["onnx", "pytorch"])
def test_a_named_engine_is_used_and_says_so(folder, name):
    facts = build(folder, name).card["engine"]
    assert facts["backend"] == name
    assert facts["why"] == "asked for by name"
    assert (facts["precision"], facts["device"]) == ("float32", "cpu")


def test_without_a_name_the_best_is_taken(folder):
    facts = build(folder).card["engine"]
    assert facts["backend"] == "onnx"
    assert facts["why"] == "onnx is the best for device 'cpu'"
    assert facts["library"].startswith("onnxruntime ")


def test_what_is_passed_over_is_named_with_the_reason_and_what_to_run(bare):
    facts = build(bare).card["engine"]
    assert facts["backend"] == "pytorch"
    assert facts["why"] == (
        "pytorch is the best for device 'cpu' that can run here; engine 'onnx': bundle 'tiny' has "
        f"no such engine; run: dimr-export build {bare} --backend onnx"
    )


def test_a_named_engine_is_never_replaced(bare):
    with pytest.raises(EngineRefused, match=r"run: dimr-export build .*tiny --backend onnx$"):
        build(bare, "onnx")


def test_engines_draw_alike(folder):
    difference = draw(build(folder, "onnx")).astype(int) - draw(build(folder, "pytorch"))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx", "pytorch-cuda", "pytorch-compile"])
def test_an_engine_for_another_device_is_refused_before_the_bundle_is_read(tmp_path, name):
    allowed = "allowed there: onnx, pytorch; or set DIMR_DEVICE=cuda"
    with pytest.raises(
        EngineRefused, match=f"'{name}': it does not run on device 'cpu'; {allowed}"
    ):
        build(tmp_path / "absent", name)


def test_an_unknown_engine_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(EngineRefused, match="'tensort': no such engine; allowed: pytorch, onnx"):
        build(tmp_path / "absent", "tensort")


def test_the_cpu_alone_has_onnx(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_engine("cuda", "pytorch-cuda")
    with pytest.raises(EngineRefused, match="'onnx': it does not run on device 'cuda'"):
        check_engine("cuda", "onnx")


@pytest.mark.parametrize("name", ["onnx", None])
def test_a_changed_engine_file_is_an_error_whoever_asked_for_it(folder, name):
    path = folder / "engines" / "onnx-fp32" / "denoiser.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleRefused, match=r"denoiser\.onnx: sha256 .* restore the bundle"):
        build(folder, name)
    assert build(folder, "pytorch").capacity == 2


def test_an_absent_engine_file_is_an_error(folder):
    (folder / "engines" / "onnx-fp32" / "denoiser.onnx").unlink()
    with pytest.raises(BundleRefused, match="listed in the manifest but absent"):
        build(folder)


def test_an_engine_of_other_weights_is_refused(folder):
    change(folder, sources={"denoiser.safetensors": "0" * 64})
    expected = r"made of another denoiser\.safetensors .*; run: .* --backend onnx --overwrite$"
    with pytest.raises(EngineRefused, match=expected):
        build(folder, "onnx")
    assert build(folder).card["engine"]["backend"] == "pytorch"


def test_graphs_in_float16_alone_are_refused(folder):
    change(folder, precision="fp16")
    with pytest.raises(EngineRefused, match=r"float16 graphs alone.*; run: dimr-export build"):
        build(folder, "onnx")


def test_a_file_that_is_no_graph_is_refused_with_the_librarys_words(folder):
    manifest = read_manifest(folder)
    file = manifest.engines[0].file
    listed = put_files(folder, manifest, {file: b"not a graph"})
    assert listed.engines
    with pytest.raises(EngineRefused, match=r"'onnx': ONNX Runtime .* refuses .*[Pp]rotobuf") as no:
        build(folder, "onnx")
    assert no.value.remedy == f"run: dimr-export build {folder} --backend onnx --overwrite"


def test_a_graph_of_another_network_is_refused(folder, layered_folder):
    other = (layered_folder / "engines" / "onnx-fp32" / "denoiser-1.onnx").read_bytes()
    manifest = read_manifest(folder)
    put_files(folder, manifest, {manifest.engines[0].file: other})
    with pytest.raises(EngineRefused, match="takes z0, t, text, mask; the network takes x, t, y"):
        build(folder, "onnx")


def test_a_part_that_was_not_built_is_named(layered_folder, tmp_path):
    folder = shutil.copytree(layered_folder, tmp_path / "tiny-layered")
    manifest = read_manifest(folder)
    kept = tuple(entry for entry in manifest.engines if entry.part != "denoiser-2")
    write_manifest(folder, manifest.model_copy(update={"engines": kept}))
    expected = "no such engine of its part denoiser-2; run: .* --overwrite$"
    with pytest.raises(EngineRefused, match=expected):
        build(folder, "onnx")


FAULTS = {
    RuntimeError("CUDA error:\n  misaligned address"): (
        "it fails at start: CUDA error: misaligned address; name another engine in DIMR_ENGINE"
    ),
    torch.OutOfMemoryError("no memory"): (
        "no memory; set DIMR_SLOTS lower, serve fewer bundles, or name another engine in "
        "DIMR_ENGINE"
    ),
}


@pytest.fixture
def failing(monkeypatch):
    """Has the ONNX engine fail: where it is opened, or only at its first call."""

    def fail(fault, *, at_first_call):
        class Broken(torch.nn.Module):
            def forward(self, *_):
                raise fault

        def maker(site, why):
            if not at_first_call:
                raise fault
            backend = eager_backend(site.bundle, site.device, why=why)
            return dataclasses.replace(backend, network=Broken())

        engines = {"onnx": maker, "pytorch": choice.ENGINES["cpu"]["pytorch"]}
        monkeypatch.setattr(choice, "ENGINES", {"cpu": engines})

    return fail


@pytest.mark.parametrize("at_first_call", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_that_fails_at_start_is_refused(folder, failing, fault, at_first_call):
    failing(fault, at_first_call=at_first_call)
    with pytest.raises(EngineRefused) as refused:
        build(folder, "onnx")
    assert str(refused.value) == f"engine 'onnx': {FAULTS[fault]}"


@pytest.mark.parametrize("at_first_call", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_that_fails_at_start_is_passed_over(folder, failing, fault, at_first_call):
    failing(fault, at_first_call=at_first_call)
    facts = build(folder).card["engine"]
    assert facts["backend"] == "pytorch"
    assert facts["why"].endswith(f"that can run here; engine 'onnx': {FAULTS[fault]}")


def test_a_failure_of_the_last_engine_is_its_refusal(bare, monkeypatch):
    def broken(_site, _why):
        msg = "no memory"
        raise torch.OutOfMemoryError(msg)

    engines = {**choice.ENGINES["cpu"], "pytorch": broken}
    monkeypatch.setattr(choice, "ENGINES", {"cpu": engines})
    with pytest.raises(EngineRefused, match="engine 'pytorch': no memory; set DIMR_SLOTS lower"):
        build(bare)
