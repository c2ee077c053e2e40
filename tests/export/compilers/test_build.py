"""Real builds of small networks, on a machine without a GPU; and builds that fail or are killed."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from export.__main__ import main
from export.compilers import listening
from export.compilers.build import BundleUnwritable, build
from export.compilers.compiler import open_compiler
from export.compilers.errors import BundleBusy, EngineInTheWay, PartUnknown, ResourceShort
from export.compilers.options import Silence
from model.bundle import (
    BundleRefused,
    file_entry,
    load_bundle,
    read_manifest,
    write_manifest,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # a build takes all of a core
    pytest.mark.xdist_group("compilers"),
]


@pytest.fixture(scope="module")
def compiler():
    return open_compiler("tensorrt-rtx")


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("norm", "head_width", "cascade"), [("td-rmsnorm", 12, "add"), ("td-layernorm", 6, "concat")]
)
def test_a_network_of_three_branches_and_odd_widths_has_each_norm_in_one_kernel(
    three_branches, compiler, options, norm, head_width, cascade
):
    folder, options = three_branches(norm, head_width, cascade), replace(options, buckets=(1, 4))
    report = build(folder, compiler, options, Silence()).document()
    assert report["td_norms"] == 2 * 1 + 3 + 1 + 2 * 2 + 1
    assert report["parts"][0]["td_norms_split"] == {}
    assert report["td_norms_single_kernel"] == report["td_norms"]
    assert report["attentions_fused"] == report["attentions"] == 1
    (entry,) = read_manifest(folder).engines
    assert (entry.part, entry.backend, entry.arch) == ("denoiser", "tensorrt-rtx", "sm80")
    assert entry.library.startswith("tensorrt_rtx 1.")
    assert report["plan_bytes"] == (folder / entry.file).stat().st_size > 100_000


def test_the_same_bundle_gives_the_same_bytes_or_a_cache_hit(folder, compiler, options, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    first = build(folder, compiler, options, Silence())
    second = build(copy, compiler, options, Silence())
    assert not first.document()["cache_hit"]
    assert files(copy) == files(folder)
    again = build(folder, compiler, options, Silence()).document()
    assert again["cache_hit"]
    assert again["td_norms_single_kernel"] == second.document()["td_norms_single_kernel"]
    assert files(copy) == files(folder)


def test_a_decoder_is_built_for_an_image_a_call_and_kept_though_nobody_can_read_its_layers(
    latents, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(listening, "_LAYERS", "Slices:")  # as another release may word it
    report = tmp_path / "report.json"
    command = ("build", latents, "--backend", "tensorrt-rtx", "--parts", "decoder")
    assert main([*map(str, command), "--report", str(report)]) == 0
    said = "the build printed no layers, so what it fused is not known"
    assert said in capsys.readouterr().out
    (entry,) = read_manifest(latents).engines
    assert (entry.part, entry.batch_buckets) == ("decoder", (1,))
    assert set(entry.sources) == {
        "autoencoder/config.json",
        "autoencoder/diffusion_pytorch_model.safetensors",
    }
    document = json.loads(report.read_text())
    assert (document["attentions"], document["attentions_fused"]) == (1, None)
    assert document["parts"][0]["layers_unknown"].startswith(said)
    assert document["plan_bytes"] == (latents / entry.file).stat().st_size > 100_000


def test_a_bundle_loads_with_its_engine_and_even_with_a_damaged_one(with_onnx):
    (entry,) = load_bundle(with_onnx).manifest.engines
    (with_onnx / entry.file).write_bytes(b"damaged")
    assert load_bundle(with_onnx).manifest.engines == (entry,)


def test_a_damaged_engine_is_replaced_only_when_asked(with_onnx, onnx_options):
    onnx = open_compiler("onnx")
    sound = files(with_onnx)
    (entry,) = read_manifest(with_onnx).engines
    (with_onnx / entry.file).write_bytes(b"damaged")
    with pytest.raises(BundleRefused, match="changed since it was built; replace it with --over"):
        build(with_onnx, onnx, onnx_options, Silence())
    build(with_onnx, onnx, onnx_options, Silence(), overwrite=True)
    assert files(with_onnx) == sound


def test_an_engine_made_otherwise_is_replaced_only_when_asked(with_onnx, onnx_options):
    onnx = open_compiler("onnx")
    before = files(with_onnx)
    other = replace(onnx_options, buckets=(1, 4))
    with pytest.raises(EngineInTheWay, match="takes 2 rows, not 1,4"):
        build(with_onnx, onnx, other, Silence())
    assert files(with_onnx) == before
    build(with_onnx, onnx, other, Silence(), overwrite=True)
    manifest = read_manifest(with_onnx)
    assert [entry.batch_buckets for entry in manifest.engines] == [(1, 4)]
    assert [path.name for path in (with_onnx / "engines").iterdir()] == ["onnx-fp32"]
    assert set(files(with_onnx)) - {"manifest.json"} == set(manifest.files)


def test_a_part_that_the_bundle_lacks_is_refused(folder, onnx_options):
    with pytest.raises(PartUnknown, match="got decoder; allowed: denoiser"):
        build(folder, open_compiler("onnx"), onnx_options, Silence(), names=("decoder",))


def test_weights_that_change_meanwhile_are_not_taken_for_those_that_were_compiled(
    folder, onnx_options
):
    weights, before = folder / "denoiser.safetensors", read_manifest(folder)

    class Change(Silence):
        def began(self, part, stage, steps=None):
            content = bytearray(weights.read_bytes())
            content[-1] ^= 1
            weights.write_bytes(content)
            files = {**before.files, weights.name: file_entry(weights)}
            write_manifest(folder, before.model_copy(update={"files": files}))

    build(folder, open_compiler("onnx"), onnx_options, Change())
    after = read_manifest(folder)
    assert after.engines[0].sources == {weights.name: before.files[weights.name].sha256}
    assert after.files[weights.name].sha256 != before.files[weights.name].sha256
    load_bundle(folder)


def test_weights_that_were_changed_are_refused(folder, onnx_options):
    path = folder / "denoiser.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleRefused, match=r"denoiser\.safetensors: sha256"):
        build(folder, open_compiler("onnx"), onnx_options, Silence())
    assert not (folder / "engines").exists()


def test_a_bundle_that_cannot_be_written_is_refused(folder, onnx_options):
    (folder / "engines").write_text("in the way")
    with pytest.raises(BundleUnwritable, match="allowed: a bundle that can be written"):
        build(folder, open_compiler("onnx"), onnx_options, Silence())


def test_a_graph_that_cannot_be_written_is_refused_with_the_reason(folder, onnx_options):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(BundleUnwritable, match="bundle: File too large; allowed: a bundle"):
            build(folder, open_compiler("onnx"), onnx_options, Silence())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (folder / "engines").exists()


def test_a_bundle_that_does_not_fit_into_memory_is_not_even_loaded(folder, onnx_options):
    manifest = read_manifest(folder)
    huge = {
        name: entry.model_copy(update={"size_bytes": 10**15})
        for name, entry in manifest.files.items()
    }
    write_manifest(folder, manifest.model_copy(update={"files": huge}))
    with pytest.raises(ResourceShort, match=r"memory: .* GiB needed; .*bundle is not loaded"):
        build(folder, open_compiler("onnx"), onnx_options, Silence())


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("memory_per_weight", r"memory: .* GiB free, about .* GiB needed; part 'denoiser'"),
        ("files_per_weight", r"disk of .*: .* GiB free, about .* GiB needed; part 'denoiser'"),
    ],
)
def test_too_little_room_is_said_before_the_build(folder, onnx_options, name, named):
    onnx = open_compiler("onnx")
    setattr(onnx, name, 1e15)
    with pytest.raises(ResourceShort, match=named):
        build(folder, onnx, onnx_options, Silence())
    assert not (folder / "engines").exists()


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from export.compilers import build as building
    from export.compilers.compiler import open_compiler
    from export.compilers.options import Options, Silence
    from export.graph.precision import Precision

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    class Death(Silence):
        def began(self, part, stage, steps=None):
            if stage == "Building engine from subgraph":
                die()

    folder, backend = sys.argv[1:]
    match backend:
        case "tensorrt-rtx":
            options = Options(arch="sm80", precision=Precision.FP16, buckets=(2,))
        case "onnx":
            options = Options(arch=None, precision=Precision.FP32, buckets=(1, 4))
            building.write_manifest = die
    building.build(Path(folder), open_compiler(backend), options, Death(), overwrite=True)
"""


def kill(folder, backend):
    """A build that ends half-way; returns what it left."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), backend]
    died = subprocess.run(command, check=False, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (folder / "engines" / ".building").exists()
    return files(folder)


def test_a_build_killed_while_it_compiles_leaves_the_bundle_and_the_next_one_cleans_up(
    with_onnx, onnx_options
):
    before = files(with_onnx)
    left = kill(with_onnx, "tensorrt-rtx")
    assert {name: left[name] for name in before} == before
    assert load_bundle(with_onnx).manifest == read_manifest(with_onnx)
    for name in (".manifest.json.0", ".labels.json.4711"):
        (with_onnx / name).write_text("half")
    assert build(with_onnx, open_compiler("onnx"), onnx_options, Silence()).parts[0].hit
    assert files(with_onnx) == before


def test_a_build_killed_before_its_engine_is_listed_leaves_the_one_before(with_onnx, onnx_options):
    before = files(with_onnx)
    left = kill(with_onnx, "onnx")
    assert {name: left[name] for name in before} == before
    assert len([name for name in left if name.startswith("engines/onnx-fp32/")]) == 2
    assert build(with_onnx, open_compiler("onnx"), onnx_options, Silence()).parts[0].hit
    assert files(with_onnx) == before


def test_files_that_no_build_made_stay(with_onnx, onnx_options):
    (with_onnx / "engines" / "old").mkdir()
    for name in ("engines/old/my.plan", "engines/onnx-fp32/notes.txt", ".notes.2024"):
        (with_onnx / name).write_text("precious")
    before = files(with_onnx)
    build(with_onnx, open_compiler("onnx"), onnx_options, Silence())
    assert files(with_onnx) == before


def test_two_builds_of_one_bundle_exclude_each_other(folder, onnx_options):
    class Ended(Exception):
        pass

    class Second(Silence):
        def began(self, part, stage, steps=None):
            with pytest.raises(BundleBusy, match="another dimr-export build"):
                build(folder, open_compiler("onnx"), onnx_options, Silence())
            raise Ended

    for _ in range(2):
        with pytest.raises(Ended):
            build(folder, open_compiler("onnx"), onnx_options, Second())


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda m: m["engines"][0].update(file="engines/x/y"), r"engines\.0\.file|engines/x/y"),
        (lambda m: m["engines"][0].update(key="12"), r"engines\.0\.key"),
        (lambda m: m["engines"][0].update(backend="cuda"), r"engines\.0\.backend"),
        (lambda m: m["engines"].append(m["engines"][0]), r"engines\.1\.file: .*no other engine"),
        (lambda m: m["engines"][0].pop("library"), r"engines\.0\.library"),
        (lambda m: m.update(parity={"image_psnr_db": 30}), "without a reason in why"),
    ],
)
def test_a_corrupted_entry_is_refused_by_its_field(with_onnx, harm, named):
    path = with_onnx / "manifest.json"
    document = json.loads(path.read_text())
    harm(document)
    path.write_text(json.dumps(document))
    with pytest.raises(BundleRefused, match=named):
        read_manifest(with_onnx)
