"""The models that ship: sound, measured, and told about."""

import json

import pytest

from model.bundle import check_file, load_bundle, read_manifest
from model.evaluation.provenance import Provenance
from model.specs.files import read_recipe

MODELS = ("emoji-32", "emoji-layered-64")


def test_these_are_all(root):
    folders = {path.parent.name for path in (root / "deploy" / "models").glob("*/manifest.json")}
    assert folders == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_a_bundle_is_sound_and_its_recipe_is_the_named_one(root, model):
    manifest = load_bundle(root / "deploy" / "models" / model).manifest
    recipe, made = read_recipe(model), Provenance.of(manifest)
    assert manifest.id == model
    assert (manifest.network, manifest.process) == (recipe.network, recipe.process)
    assert (made.data, made.training) == (recipe.data, recipe.training)


@pytest.mark.parametrize("model", MODELS)
def test_a_cpu_has_graphs_that_are_sound_of_these_weights_and_verified(root, model):
    folder = root / "deploy" / "models" / model
    manifest = read_manifest(folder)
    scales = len(manifest.sizes)
    names = {f"denoiser-{k + 1}" for k in range(scales)} if scales > 1 else {"denoiser"}
    assert {entry.part for entry in manifest.engines} == names
    for entry in manifest.engines:
        assert (entry.backend, entry.precision) == ("onnx", "fp32")
        assert entry.parity is not None
        assert (entry.parity["engine"], entry.parity["passed"]) == ("onnx", True)
        for name, sha256 in entry.sources.items():
            assert manifest.files[name].sha256 == sha256
        check_file(folder, entry.file, manifest.files[entry.file])


@pytest.mark.parametrize("model", MODELS)
def test_the_card_tells_what_was_recorded(root, model):
    folder = root / "deploy" / "models" / model
    weights = load_bundle(folder).manifest.files["denoiser.safetensors"].sha256
    records = (root / "tests" / "benchmarks" / "results").glob(f"{model}-*.json")
    reports = [json.loads(path.read_bytes()) for path in records]
    measured = [r["measures"] for r in reports if r["denoiser_sha256"] == weights]
    assert measured
    card = (folder / "MODEL_CARD.md").read_text()
    for measures in measured:
        accuracies = measures["accuracy"]
        samples, real = (f"{100 * accuracies[of]['top1']:.1f} %" for of in ("samples", "real"))
        assert f"accuracy, top 1 | {samples} | {real} |" in card
