"""Bundles: written whole, read only when unharmed."""

import json

import pytest
import torch

from model.bundle import BundleRefused, load_bundle, write_bundle
from model.denoisers.dimr import DiMR


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
        (lambda f: edit(f, lambda m: m["network"].update(classes=0)), "network.classes"),
        (lambda f: edit(f, lambda m: m["files"].pop("labels.json")), "lacks labels.json"),
        (lambda f: (f / "labels.json").unlink(), "labels.json: listed in the manifest but absent"),
        (flip_a_byte, "denoiser.safetensors: sha256"),
        (lambda f: edit(f, lambda m: m["network"].update(classes=4)), "3 classes"),
        (lambda f: edit(f, lambda m: m["network"]["stages"][1].update(dim=9)), "does not fit"),
        (
            lambda f: edit(f, lambda m: m["files"].update({"../x": m["files"]["labels.json"]})),
            "files",
        ),
    ],
)
def test_a_harmed_bundle_is_refused_by_name(folder, harm, named):
    harm(folder)
    with pytest.raises(BundleRefused, match=named):
        load_bundle(folder)
