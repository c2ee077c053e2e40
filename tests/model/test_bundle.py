"""Bundles: written whole, read only when unharmed."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from model.autoencoder import AutoencoderRefused, load_autoencoder
from model.bundle import (
    BundleRefused,
    add_autoencoder,
    file_entry,
    load_bundle,
    put_bundle,
    put_file,
    read_manifest,
    write_bundle,
    write_manifest,
)
from model.denoisers.build import build_denoiser
from model.denoisers.dimr import DiMR
from model.files import locked
from model.sampling.images import ImageRequest, generate
from model.specs.manifest import EngineEntry
from model.specs.recipe import Recipe

SHIPPED = Path(__file__).parents[2] / "deploy" / "models" / "emoji-32"


@pytest.fixture
def folder(tiny_recipe, tmp_path):
    network = DiMR(tiny_recipe.network)
    write_bundle(tmp_path / "b", tiny_recipe, network, ("a", "b", "c"), steps=6)
    return tmp_path / "b"


def test_a_bundle_gives_back_what_was_written(tiny_recipe, tmp_path):
    network = DiMR(tiny_recipe.network)
    write_bundle(tmp_path / "b", tiny_recipe, network, ("a", "b", "c"), steps=6)
    bundle = load_bundle(tmp_path / "b")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(bundle.network.state_dict()[name], value, atol=0, rtol=0)
    assert [label.name for label in bundle.labels] == ["a", "b", "c"]
    assert bundle.manifest.sizes == (16,)
    assert bundle.manifest.provenance["images_seen"] == 24
    assert not bundle.network.training


def test_a_bundle_can_be_moved(folder, tmp_path):
    moved = folder.rename(tmp_path / "elsewhere")
    assert load_bundle(moved).manifest.id == "tiny"


def test_writing_again_replaces_the_folder_as_a_whole(folder, tiny_recipe):
    (folder / "stray").write_text("old")
    write_bundle(folder, tiny_recipe, DiMR(tiny_recipe.network), ("a", "b", "c"), steps=7)
    assert sorted(p.name for p in folder.iterdir()) == [
        "denoiser.safetensors",
        "labels.json",
        "manifest.json",
    ]


def edit(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def with_factor_8(manifest):
    manifest["process"]["codec"]["factor"] = 8
    manifest["sizes"] = [8 * manifest["network"]["size"]]


def flip_a_byte(folder):
    path = folder / "denoiser.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda f: (f / "manifest.json").unlink(), "no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{"), "not JSON"),
        (lambda f: (f / "manifest.json").write_text("[]"), "format_version: got None"),
        (lambda f: edit(f, lambda m: m.update(format_version=2)), "got 2; allowed: 1"),
        (lambda f: edit(f, lambda m: m.update(colour="red")), "colour"),
        (lambda f: edit(f, lambda m: m["network"].update(classes=0)), "network.*classes"),
        (lambda f: edit(f, lambda m: m["files"].pop("labels.json")), "lacks labels.json"),
        (lambda f: (f / "labels.json").unlink(), "labels.json: listed in the manifest but absent"),
        (flip_a_byte, "denoiser.safetensors: sha256"),
        (lambda f: edit(f, lambda m: m["network"].update(classes=4)), "3 classes"),
        (lambda f: edit(f, lambda m: m["network"]["stages"][1].update(dim=9)), "does not fit"),
    ],
)
def test_a_harmed_bundle_is_refused_by_name(folder, harm, named):
    harm(folder)
    with pytest.raises(BundleRefused, match=named):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["../x", "a/../x", "/x", "a/b/c", "a/", ".x", "a/.x", "a//x", ""])
def test_a_file_is_in_the_bundle_or_in_a_folder_of_it(folder, name):
    edit(folder, lambda m: m["files"].update({name: m["files"]["labels.json"]}))
    with pytest.raises(BundleRefused, match="files"):
        load_bundle(folder)


def test_the_shipped_bundle_keeps_loading():
    bundle = load_bundle(SHIPPED)
    assert bundle.manifest.sizes == (32,)
    assert bundle.codec.decode(torch.zeros(1, 12, 16, 16)).shape == (1, 3, 32, 32)


def test_every_kind_of_network_comes_back(tiny_recipe, tmp_path):
    document = tiny_recipe.model_dump()
    plain = {"size": 8, "channels": 12, "classes": 3, "dim": 8, "blocks": 1, "heads": 2, "patch": 2}
    for kind in ("uvit", "dit"):
        recipe = Recipe.model_validate(document | {"network": plain | {"kind": kind}})
        network = build_denoiser(recipe.network)
        loaded = load_bundle(write_bundle(tmp_path / kind, recipe, network, "abc", steps=1))
        assert loaded.manifest.kind == kind
        assert loaded.manifest.network == recipe.network
        for name, value in network.state_dict().items():
            torch.testing.assert_close(loaded.network.state_dict()[name], value, atol=0, rtol=0)


class Interrupting(Mapping[str, torch.Tensor]):
    """Weights whose reading is interrupted."""

    def __getitem__(self, name):
        raise KeyboardInterrupt

    def __iter__(self):
        return iter(("a",))

    def __len__(self):
        return 1


def test_an_interrupted_write_leaves_what_was_there(folder):
    bundle = load_bundle(folder)
    with pytest.raises(KeyboardInterrupt):
        put_bundle(folder, bundle.manifest, bundle.labels, Interrupting(), None)
    assert [path.name for path in folder.parent.iterdir()] == ["b"]
    assert load_bundle(folder).manifest == bundle.manifest


@pytest.fixture
def latent_recipe(tiny_recipe):
    document = tiny_recipe.model_dump()
    document["data"] = {"kind": "latents"}
    document["network"]["channels"] = 4
    document["process"]["codec"] = {"kind": "latents", "factor": 2}
    return Recipe.model_validate(document)


@pytest.fixture
def autoencoder_folder(tmp_path):
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    autoencoder.save_pretrained(tmp_path / "autoencoder")
    return tmp_path / "autoencoder"


@pytest.fixture
def latent_folder(latent_recipe, tmp_path):
    network = DiMR(latent_recipe.network)
    return write_bundle(tmp_path / "latent", latent_recipe, network, "abc", steps=6)


REQUESTS = [
    ImageRequest(condition=k, seed=k, steps=2, sampler="ddim", guidance=1.0) for k in range(3)
]


def test_a_latent_bundle_without_autoencoder_loads_but_does_not_decode(latent_folder):
    bundle = load_bundle(latent_folder)
    assert bundle.manifest.sizes == (16,)
    with pytest.raises(BundleRefused, match="dimr-export add-autoencoder BUNDLE SOURCE"):
        generate(bundle, REQUESTS, batch=2)


def test_a_latent_bundle_draws_images_once_it_has_its_autoencoder(
    latent_folder, autoencoder_folder
):
    add_autoencoder(latent_folder, str(autoencoder_folder))
    images = list(generate(load_bundle(latent_folder), REQUESTS, batch=3))
    assert [image.shape for image in images] == [(16, 16, 3)] * 3
    assert np.abs(images[0].astype(int) - images[1]).max() > 2


def test_an_autoencoder_is_written_with_the_bundle_or_added_all_the_same(
    latent_recipe, latent_folder, autoencoder_folder, tmp_path
):
    network = load_bundle(latent_folder).network
    codec = load_autoencoder(str(autoencoder_folder), latent_recipe.process.codec)
    whole = write_bundle(
        tmp_path / "whole", latent_recipe, network, "abc", steps=6, autoencoder=codec
    )
    added = add_autoencoder(latent_folder, str(autoencoder_folder))
    assert read_manifest(whole).files == added.files
    assert sorted(added.files) == [
        "autoencoder/config.json",
        "autoencoder/diffusion_pytorch_model.safetensors",
        "denoiser.safetensors",
        "labels.json",
    ]


def test_an_autoencoder_that_is_added_again_is_replaced(latent_folder, autoencoder_folder):
    first = add_autoencoder(latent_folder, str(autoencoder_folder))
    second = add_autoencoder(latent_folder, str(autoencoder_folder))
    assert second.files == first.files
    assert load_bundle(latent_folder).autoencoder is not None


def test_an_autoencoder_that_does_not_fit_leaves_the_bundle_as_it_was(
    latent_folder, autoencoder_folder
):
    edit(latent_folder, with_factor_8)
    before = read_manifest(latent_folder)
    with pytest.raises(AutoencoderRefused, match="got 2; allowed: 8"):
        add_autoencoder(latent_folder, str(autoencoder_folder))
    assert read_manifest(latent_folder) == before
    assert not (latent_folder / "autoencoder").exists()


def test_a_model_of_pixels_takes_no_autoencoder(folder, autoencoder_folder):
    with pytest.raises(BundleRefused, match=r"process\.codec: got 'pixels'"):
        add_autoencoder(folder, str(autoencoder_folder))


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda f: (f / "autoencoder" / "config.json").write_text("{}"), "config.json: sha256"),
        (lambda f: (f / "autoencoder" / "config.json").unlink(), "config.json: listed"),
        (
            lambda f: edit(f, lambda m: m["files"].pop("autoencoder/config.json")),
            "lacks autoencoder/config.json",
        ),
        (
            lambda f: edit(f, with_factor_8),
            "factor of its latents: got 2; allowed: 8",
        ),
    ],
    ids=["changed", "absent", "unlisted", "misfit"],
)
def test_a_harmed_autoencoder_is_refused_by_name(latent_folder, autoencoder_folder, harm, named):
    add_autoencoder(latent_folder, str(autoencoder_folder))
    harm(latent_folder)
    with pytest.raises(BundleRefused, match=named):
        load_bundle(latent_folder)


def list_engine(folder, part):
    """What a build does at its end."""
    file = f"engines/onnx-fp32/{part}.onnx"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(b"graph")
    manifest = read_manifest(folder)
    counts = ("td_norms", "td_norms_single_kernel", "attentions", "attentions_fused")
    entry = EngineEntry(
        part=part,
        backend="onnx",
        precision="fp32",
        arch=None,
        library="onnx 1",
        key="0" * 64,
        sources={"denoiser.safetensors": "1" * 64},
        batch_buckets=(1,),
        file=file,
        report={"plan_bytes": 5, **dict.fromkeys(counts, 0)},
    )
    files = {**manifest.files, file: file_entry(folder / file)}
    update = {"files": files, "engines": (*manifest.engines, entry)}
    write_manifest(folder, manifest.model_copy(update=update))


def test_engines_that_were_built_while_an_autoencoder_was_fetched_stay_listed(
    latent_folder, autoencoder_folder, monkeypatch
):
    def slowly(source, spec):
        list_engine(latent_folder, "denoiser")
        list_engine(latent_folder, "decoder")
        return load_autoencoder(source, spec)

    with monkeypatch.context() as patch:
        patch.setattr("model.bundle.load_autoencoder", slowly)
        added = add_autoencoder(latent_folder, str(autoencoder_folder))
    assert added == read_manifest(latent_folder)
    assert [entry.part for entry in added.engines] == ["denoiser"], "another decoder is out of date"
    assert load_bundle(latent_folder).autoencoder is not None


def test_a_bundle_is_not_written_before_its_turn(folder):
    manifest = read_manifest(folder)
    written = threading.Event()

    def write():
        put_file(folder, manifest, "card.md", "words")
        written.set()

    with locked(folder):
        writer = threading.Thread(target=write)
        writer.start()
        before = written.wait(0.05)
    writer.join()
    assert not before
    assert read_manifest(folder).files.keys() == {*manifest.files, "card.md"}


def test_what_a_killed_writer_left_is_gone_after_the_next(folder, monkeypatch):
    manifest, before = read_manifest(folder), (folder / "manifest.json").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: 1)
        patch.setattr(Path, "replace", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # nothing runs after a SIGKILL
        with pytest.raises(KeyboardInterrupt):
            write_manifest(folder, manifest)
    assert (folder / "manifest.json").read_bytes() == before
    assert len(list(folder.glob(".manifest*"))) == 1
    write_manifest(folder, manifest)
    assert sorted(path.name for path in folder.iterdir()) == [
        *sorted(manifest.files),
        "manifest.json",
    ]


def test_a_manifest_is_on_the_disk_before_it_has_its_name(folder, monkeypatch):
    happened = []
    rename = Path.replace

    def renaming(path, target):
        happened.append("renamed")
        return rename(path, target)

    monkeypatch.setattr("os.fsync", lambda _: happened.append("synced"))
    monkeypatch.setattr(Path, "replace", renaming)
    write_manifest(folder, read_manifest(folder))
    assert happened == ["synced", "renamed"]


def test_a_disk_without_room_leaves_the_manifest_and_nothing_else(folder, monkeypatch):
    before = (folder / "manifest.json").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_manifest(folder, read_manifest(folder))
    assert (folder / "manifest.json").read_bytes() == before
    assert not list(folder.glob(".manifest*"))
