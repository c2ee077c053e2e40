import json
import shutil

import pytest
import torch

from model.text.encoder import EncoderRefused
from model.text.folder import encoder_folder


def test_a_folder_is_the_files_that_are_read_and_nothing_else(t5_folder):
    (t5_folder / "README.md").write_text("a stranger's words")
    names = ["config.json", "model.safetensors", "tokenizer.json"]
    assert sorted(encoder_folder(t5_folder, "x").files) == names


def test_weights_in_several_files_are_found_and_read_as_one(clip_folder, clip):
    folder = encoder_folder(clip_folder, "x")
    assert len(folder.files) > 4
    assert "model.safetensors.index.json" in folder.files
    weights = folder.weights()
    assert weights.keys() == clip.state_dict().keys()
    for name, value in clip.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0)


def test_the_hash_is_the_same_wherever_the_files_lie(clip_folder, tmp_path):
    moved = shutil.copytree(clip_folder, tmp_path / "elsewhere" / "renamed")
    (moved / "README.md").write_text("more")
    assert encoder_folder(moved, "y").sha256 == encoder_folder(clip_folder, "x").sha256


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "model-00001-of-"]
)
def test_the_hash_is_over_every_file(t5_folder, clip_folder, name):
    folder = clip_folder if name.endswith("-of-") else t5_folder
    before = encoder_folder(folder, "x").sha256
    (path,) = folder.glob(name + "*")
    path.write_bytes(path.read_bytes() + b" ")
    assert encoder_folder(folder, "x").sha256 != before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(t5_folder, name):
    (t5_folder / name).unlink()
    with pytest.raises(EncoderRefused, match=f"'x': lacks {name}; allowed: a folder with"):
        encoder_folder(t5_folder, "x")


def test_a_missing_shard_is_named(clip_folder):
    shard = sorted(clip_folder.glob("model-*"))[1]
    shard.unlink()
    with pytest.raises(EncoderRefused, match=f"'x': lacks {shard.name};"):
        encoder_folder(clip_folder, "x")


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("{", "model.safetensors.index.json cannot be read"),
        ("[]", r"got \[\]; allowed: an object"),
        ("{}", "weight_map: got None; allowed: files by name"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "got '../x.safetensors'; allowed:"),
        ('{"weight_map": {"a": "/x.safetensors"}}', "got '/x.safetensors'; allowed:"),
        ('{"weight_map": {"a": "pytorch_model.bin"}}', "got 'pytorch_model.bin'; allowed:"),
        ('{"weight_map": {"a": 3}}', "got '3'; allowed:"),
    ],
)
def test_a_list_of_weights_that_is_none_is_refused(clip_folder, document, named):
    (clip_folder / "model.safetensors.index.json").write_text(document)
    with pytest.raises(EncoderRefused, match=named):
        encoder_folder(clip_folder, "x")


def test_damaged_weights_are_refused_by_name(t5_folder):
    path = t5_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EncoderRefused, match=r"'x': model\.safetensors cannot be read"):
        encoder_folder(t5_folder, "x").weights()


def test_a_configuration_that_is_none_is_refused(t5_folder):
    (t5_folder / "config.json").write_text(json.dumps([1]))
    with pytest.raises(EncoderRefused, match=r"config\.json: got \[1\]; allowed: an object"):
        encoder_folder(t5_folder, "x").config()
