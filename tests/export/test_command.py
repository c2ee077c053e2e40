"""dimr-export: what it makes of checkpoints, and what it says about bad ones."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from export.__main__ import main
from export.runtime.build import build_engines
from model.bundle import BundleRefused, load_bundle, read_manifest
from model.sampling.images import ImageRequest, generate
from model.sampling.samplers import tables_for
from model.specs.networks import DiMRSpec, Norm


def save_numpy(tensors, path):
    np.savez(path, **{name: value.numpy() for name, value in tensors.items()})


FORMS = {
    "bare.pth": torch.save,
    "wrapped.pth": lambda sd, path: torch.save({"nnet": sd, "step": 7}, path),
    "prefixed.pt": lambda sd, path: torch.save({f"module.{k}": v for k, v in sd.items()}, path),
    "legacy.bin": lambda sd, path: torch.save(sd, path, _use_new_zipfile_serialization=False),
    "tensors.safetensors": save_file,
    "arrays.npz": save_numpy,
}


@pytest.fixture
def checkpoint(state_dict, tmp_path):
    path = tmp_path / "DiMR XL.pth"
    torch.save(state_dict, path)
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def convert(checkpoint, out, *more):
    return run("import-official", checkpoint, "--heads", 4, "--out", out, *more)


@pytest.mark.parametrize("name", FORMS)
def test_an_imported_network_agrees_with_the_authors_outputs(state_dict, recorded, tmp_path, name):
    FORMS[name](state_dict, tmp_path / name)
    assert convert(tmp_path / name, tmp_path / "bundle") == 0
    network = load_bundle(tmp_path / "bundle").network
    for k in range(7):
        x, t, y = (recorded[f"run{k}/{part}"] for part in "xty")
        with torch.no_grad():
            predictions = network(x, t, y)
        for branch, prediction in enumerate(predictions):
            expected = recorded[f"run{k}/out{branch}"]
            torch.testing.assert_close(prediction, expected, atol=1e-4, rtol=0)


def test_the_bundle_has_the_authors_process_and_sampling(checkpoint, tmp_path):
    assert convert(checkpoint, tmp_path / "bundle") == 0
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.id == "dimr-xl"
    assert manifest.sizes == (128,)
    assert isinstance(manifest.network, DiMRSpec)
    assert manifest.network.norm is Norm.TD_RMSNORM
    assert manifest.process.model_dump(mode="json") == {
        "codec": {"kind": "latents", "factor": 8, "channels": 4, "scale": 0.18215},
        "schedule": {"kind": "stable-diffusion"},
        "scales": None,
        "prediction": "noise",
        "t_min": 0.001,
        "t_max": 1.0,
    }
    assert manifest.sampling.model_dump() == {
        "sampler": "dpmpp_3s",
        "grid": "time",
        "final": "t_end",
        "steps": 250,
        "guidance": 1.4,
    }
    assert "not stated" in manifest.licence
    assert manifest.provenance["paper"] == "arXiv:2406.09416"
    assert manifest.provenance["file"] == "DiMR XL.pth"
    content = checkpoint.read_bytes()
    assert manifest.provenance["sha256"] == hashlib.sha256(content).hexdigest()


def test_what_the_user_says_about_the_weights_is_kept(checkpoint, tmp_path):
    said = ("--id", "mine", "--description", "My model.", "--licence", "CC0-1.0")
    assert convert(checkpoint, tmp_path / "bundle", *said) == 0
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.id, manifest.description, manifest.licence) == ("mine", "My model.", "CC0-1.0")


def with_classes(state_dict, rows):
    embedding = {"stages.0.class_embeds.weight": torch.zeros(rows, 32)}
    return state_dict | embedding


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (1001, {0: "tench", 388: "giant panda", 999: "toilet tissue"}),
        (11, {0: "class 0", 9: "class 9"}),
    ],
)
def test_a_thousand_classes_are_imagenets_and_others_are_numbered(
    state_dict, tmp_path, rows, names
):
    torch.save(with_classes(state_dict, rows), tmp_path / "c.pth")
    assert convert(tmp_path / "c.pth", tmp_path / "bundle") == 0
    labels = load_bundle(tmp_path / "bundle").labels
    assert len(labels) == rows - 1
    assert {k: labels[k].name for k in names} == names


def test_imagenets_aliases_come_along(state_dict, tmp_path):
    torch.save(with_classes(state_dict, 1001), tmp_path / "c.pth")
    assert convert(tmp_path / "c.pth", tmp_path / "bundle") == 0
    assert "panda" in load_bundle(tmp_path / "bundle").labels[388].aliases


def test_labels_may_come_from_a_file(checkpoint, tmp_path):
    (tmp_path / "names.txt").write_text("".join(f"name {k}, other {k}\n" for k in range(10)))
    assert convert(checkpoint, tmp_path / "bundle", "--labels", tmp_path / "names.txt") == 0
    label = load_bundle(tmp_path / "bundle").labels[3]
    assert (label.name, label.aliases) == ("name 3", ("other 3",))


def test_one_of_several_state_dicts_is_chosen_by_name(state_dict, tmp_path, capsys):
    ema = {name: value * 0 for name, value in state_dict.items()}
    torch.save({"nnet": state_dict, "nnet_ema": ema}, tmp_path / "c.pth")
    assert convert(tmp_path / "c.pth", tmp_path / "bundle") == 2
    assert "nnet, nnet_ema; choose one with --key" in capsys.readouterr().err
    assert convert(tmp_path / "c.pth", tmp_path / "bundle", "--key", "nnet_ema") == 0
    parameters = load_bundle(tmp_path / "bundle").network.parameters()
    assert all(parameter.count_nonzero() == 0 for parameter in parameters)


def pixel_state_dict(state_dict, channels):
    """The same network for other channels."""
    changed = dict(state_dict)
    for stage in range(2):
        conv = changed[f"stages.{stage}.input_layer.1.weight"]
        changed[f"stages.{stage}.input_layer.1.weight"] = conv[:, :1].repeat(1, channels, 1, 1)
        for part in ("weight", "bias"):
            name = f"stages.{stage}.output_layer.2.{part}"
            changed[name] = changed[name][:1].repeat(channels, *(1,) * (changed[name].ndim - 1))
    return changed


@pytest.mark.parametrize(
    ("channels", "options", "codec", "size"),
    [
        (3, (), {"kind": "pixels", "factor": 1}, 16),
        (12, ("--codec", "pixels:2"), {"kind": "pixels", "factor": 2}, 32),
        (
            16,
            ("--codec", "latents:4"),
            {"kind": "latents", "factor": 4, "channels": 16, "scale": 0.18215},
            64,
        ),
    ],
)
def test_channels_say_what_is_denoised(state_dict, tmp_path, channels, options, codec, size):
    torch.save(pixel_state_dict(state_dict, channels), tmp_path / "c.pth")
    assert convert(tmp_path / "c.pth", tmp_path / "bundle", *options) == 0
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.process.codec.model_dump() == codec
    assert manifest.sizes == (size,)


@pytest.mark.parametrize("channels", [2, 12])
def test_other_channels_have_to_be_explained(state_dict, tmp_path, capsys, channels):
    torch.save(pixel_state_dict(state_dict, channels), tmp_path / "c.pth")
    assert convert(tmp_path / "c.pth", tmp_path / "bundle") == 2
    assert f"has {channels} channels" in capsys.readouterr().err
    assert convert(tmp_path / "c.pth", tmp_path / "bundle", "--codec", "pixels:3") == 2
    assert "argument --codec: got pixels:3, 27 channels" in capsys.readouterr().err


def test_a_model_of_pixels_takes_no_autoencoder(state_dict, autoencoder_folder, tmp_path, capsys):
    torch.save(pixel_state_dict(state_dict, 3), tmp_path / "c.pth")
    options = ("--autoencoder", autoencoder_folder)
    assert convert(tmp_path / "c.pth", tmp_path / "bundle", *options) == 2
    assert "none for a model of pixels" in capsys.readouterr().err


def test_an_imported_model_serves_what_it_samples(checkpoint, autoencoder_folder, tmp_path):
    out = tmp_path / "bundle"
    assert convert(checkpoint, out, "--autoencoder", autoencoder_folder) == 0
    bundle = load_bundle(out)
    request = ImageRequest(condition=3, seed=5, steps=3, sampler="dpmpp_3s", guidance=1.4)
    (sampled,) = generate(bundle, [request], batch=1)
    assert sampled.shape == (128, 128, 3)
    ((_, engine),) = build_engines([out], device="cpu", capacity=2)
    assert engine.card["sizes"] == [128]
    engine.admit(1, condition=3, seed=5, steps=3, sampler="dpmpp_3s", guidance=1.4, size=128)
    for _ in range(3):
        finished = engine.step([1])
    assert finished == [1]
    assert np.abs(engine.take(1).astype(int) - sampled).max() <= 1


def test_an_image_takes_the_authors_250_guided_calls(checkpoint, tmp_path):
    assert convert(checkpoint, tmp_path / "bundle") == 0
    manifest = read_manifest(tmp_path / "bundle")
    sampling = manifest.sampling
    (table,) = tables_for(
        manifest.process,
        manifest.network.sides,
        sampling,
    )
    assert table.rows_per_call.tolist() == [2] * 250
    assert table.guidance.unique().tolist() == [1.4]
    assert table.t[0] == 1
    assert 0.001 < table.t[-1] < 0.01


def test_an_engine_is_not_built_without_the_autoencoder_and_the_command_adds_it(
    checkpoint, autoencoder_folder, tmp_path, capsys
):
    out = tmp_path / "bundle"
    assert convert(checkpoint, out) == 0
    assert f"dimr-export add-autoencoder {out} SOURCE" in capsys.readouterr().out
    with pytest.raises(BundleRefused, match="dimr-export add-autoencoder"):
        list(build_engines([out], device="cpu", capacity=1))
    assert run("add-autoencoder", out, autoencoder_folder) == 0
    assert "has its autoencoder" in capsys.readouterr().out
    ((_, engine),) = build_engines([out], device="cpu", capacity=1)
    assert engine.capacity == 1


def test_wordnet_ids_tell_classes_of_one_name_apart(checkpoint, tmp_path):
    lines = [f"n0000000{k} crane" for k in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(lines))
    assert convert(checkpoint, tmp_path / "bundle", "--labels", tmp_path / "names.txt") == 0
    assert load_bundle(tmp_path / "bundle").labels[3].name == "crane (n00000003)"


def test_a_bundle_is_replaced_only_when_asked(checkpoint, tmp_path, capsys):
    out = tmp_path / "bundle"
    assert convert(checkpoint, out) == 0
    assert convert(checkpoint, out, "--id", "second") == 2
    assert "exists; allowed: another folder, or --overwrite" in capsys.readouterr().err
    assert read_manifest(out).id == "dimr-xl"
    assert convert(checkpoint, out, "--id", "second", "--overwrite") == 0
    assert read_manifest(out).id == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DiMR XL.pth", "bundle"]


def test_an_interrupted_import_leaves_nothing(checkpoint, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("model.bundle.save_file", interrupt)
    assert convert(checkpoint, tmp_path / "bundle") == 130
    assert "interrupted" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


@pytest.mark.parametrize(
    ("bundle", "named"), [("absent", "is no bundle"), ("pixels", "only they need one")]
)
def test_an_autoencoder_needs_a_bundle_of_latents(
    state_dict, autoencoder_folder, tmp_path, capsys, bundle, named
):
    torch.save(pixel_state_dict(state_dict, 3), tmp_path / "c.pth")
    assert convert(tmp_path / "c.pth", tmp_path / "pixels") == 0
    assert run("add-autoencoder", tmp_path / bundle, autoencoder_folder) == 2
    assert named in capsys.readouterr().err


def test_an_autoencoder_of_another_shape_leaves_the_bundle_sound(
    checkpoint, autoencoder_folder, tmp_path, capsys
):
    out = tmp_path / "bundle"
    assert convert(checkpoint, out) == 0
    wrong = tmp_path / "wrong"
    shutil.copytree(autoencoder_folder, wrong)
    config = json.loads((wrong / "config.json").read_text())
    (wrong / "config.json").write_text(json.dumps(config | {"latent_channels": 8}))
    assert run("add-autoencoder", out, wrong) == 2
    assert "cannot be loaded" in capsys.readouterr().err
    assert load_bundle(out).autoencoder is None


@pytest.mark.parametrize("command", [(), ("import-official",), ("add-autoencoder",)])
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*command, "--help")
    assert stop.value.code == 0
    assert "examples:\n  dimr-export" in capsys.readouterr().out
