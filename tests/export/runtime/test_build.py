"""From folders of bundles to engines."""

import pytest
import torch

from export.runtime.build import DeviceAbsent, IdsClash, build_engines
from model.bundle import BundleRefused, put_bundle


@pytest.fixture
def make_folder(tiny_bundle, tmp_path):
    """Writes the tiny bundle under an id into a folder of a name."""

    def make(name, model_id):
        manifest = tiny_bundle.manifest.model_copy(update={"id": model_id})
        weights = tiny_bundle.network.state_dict()
        return put_bundle(tmp_path / name, manifest, tiny_bundle.labels, weights, None)

    return make


def test_every_bundle_becomes_an_engine_under_its_id(make_folder):
    folders = [make_folder("a", "one"), make_folder("b", "two")]
    engines = dict(build_engines(folders, device="cpu", capacity=3))
    assert {model: engine.card["id"] for model, engine in engines.items()} == {
        "one": "one",
        "two": "two",
    }
    assert engines["two"].capacity == 3


def test_a_damaged_bundle_is_refused_before_any_other_is_measured(make_folder):
    sound, damaged = make_folder("a", "one"), make_folder("b", "two")
    with (damaged / "labels.json").open("a") as file:
        file.write(" ")
    engines = build_engines([sound, damaged], device="cpu", capacity=1)
    with pytest.raises(BundleRefused, match=r"labels\.json"):
        next(engines)


def test_two_bundles_of_one_id_are_refused(make_folder):
    folders = [make_folder("a", "same"), make_folder("b", "same")]
    with pytest.raises(IdsClash, match=r"b has the id 'same' of another bundle"):
        next(build_engines(folders, device="cpu", capacity=1))


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="checks the refusal on a machine without CUDA"
)
def test_an_absent_device_is_refused(tmp_path):
    with pytest.raises(DeviceAbsent, match="cuda"):
        next(build_engines([tmp_path], device="cuda", capacity=1))
