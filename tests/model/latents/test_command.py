import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from model.autoencoder import load_autoencoder
from model.data.images.decoding import Record, decode_record
from model.data.source import to_unit
from model.latents.__main__ import main
from model.latents.arguments import chosen_share
from model.latents.encoding import weights_sha256
from model.sampling.arguments import ArgumentRefused
from model.specs.process import LatentsSpec


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def shards_of(folder):
    return {name: data for name, data in contents(folder).items() if name.endswith("tensors")}


def test_moments_are_those_of_each_image_and_its_mirror_image(latents, pictures, autoencoder):
    codec = load_autoencoder(str(autoencoder), LatentsSpec(channels=2, factor=4))
    paths = sorted(pictures.rglob("*.png"))
    found = [load_file(latents / f"moments-0000{k}.safetensors") for k in range(3)]
    moments = np.concatenate([shard["moments"] for shard in found])
    labels = np.concatenate([shard["labels"] for shard in found])
    assert moments.dtype == np.float32
    assert labels.tolist() == [0] * 5 + [1] * 6
    for k in (0, 6, 10):
        crop = decode_record(Record("x", paths[k].read_bytes(), 0), 16).value
        for view, image in enumerate((crop, crop[:, ::-1].copy())):
            expected = codec.moments(to_unit(np.asarray(image[None], dtype=np.uint8)))[0]
            torch.testing.assert_close(
                torch.from_numpy(moments[k, view]), expected, rtol=1e-4, atol=1e-4
            )


def test_the_index_says_what_made_the_latents(latents, pictures, autoencoder):
    index = json.loads((latents / "index.json").read_bytes())
    plan = index["plan"]
    codec = load_autoencoder(str(autoencoder), LatentsSpec(channels=2, factor=4))
    assert plan["format"] == 1
    assert plan["size"] == 16
    assert plan["shape"] == [4, 4, 4]
    assert plan["classes"] == [{"name": "ant", "aliases": []}, {"name": "bee", "aliases": []}]
    assert plan["origin"]["source"] == str(autoencoder)
    assert plan["origin"]["sha256"] == weights_sha256(codec)
    assert [shard["count"] for shard in index["shards"]] == [4, 4, 3]


def test_running_again_changes_nothing(latents, encode, tmp_path, capsys):
    before = contents(latents)
    encode[1] = json.loads(before["plan.json"])["location"]
    assert main([*encode, "--out", str(latents)]) == 0
    assert contents(latents) == before
    assert "11 images in 2 classes" in capsys.readouterr().out


def test_two_shares_write_what_one_does(latents, encode, tmp_path, capsys):
    encode[1] = json.loads((latents / "plan.json").read_bytes())["location"]
    out = tmp_path / "shared"
    assert main([*encode, "--out", str(out), "--shard", "1/2"]) == 0
    assert not (out / "index.json").exists()
    assert "share 1/2 is complete; other shares are not yet" in capsys.readouterr().out
    assert main([*encode, "--out", str(out), "--shard", "0/2"]) == 0
    assert contents(out) == contents(latents)


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_bytes(latents, encode, tmp_path):
    encode[1] = json.loads((latents / "plan.json").read_bytes())["location"]
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, *encode, "--out", str(out)]
    killed = subprocess.run(command, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    names = {path.name for path in out.iterdir()}
    assert "moments-00000.safetensors" in names
    assert "index.json" not in names
    assert any(name.startswith(".moments-00001") for name in names)  # half-written
    first = (out / "moments-00000.safetensors").stat().st_mtime_ns
    (out / ".moments-00002.safetensors.5").write_bytes(b"half")  # when it was one of more shares
    assert main([*encode, "--out", str(out)]) == 0
    assert contents(out) == contents(latents)
    assert (out / "moments-00000.safetensors").stat().st_mtime_ns == first


KILLED = """
import os, signal, sys
from model.latents.__main__ import main

def die_in_the_second_shard(descriptor):
    names = os.listdir(sys.argv[-1])
    if any(name.startswith(".moments-00001.safe") for name in names):
        os.ftruncate(descriptor, 100)
        os.kill(os.getpid(), signal.SIGKILL)

os.fsync = die_in_the_second_shard
main(sys.argv[1:])
"""


def test_a_damaged_shard_is_written_again(latents, encode, caplog):
    before = contents(latents)
    encode[1] = json.loads(before["plan.json"])["location"]
    shard = latents / "moments-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    assert main([*encode, "--out", str(latents)]) == 0
    assert contents(latents) == before
    assert f"shard written again: {shard}: sha256" in caplog.text


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [
        ("--shard-size", "5", "shard_size"),
        ("--dtype", "float16", "dtype"),
        ("--size", "20", "size"),
        ("--autoencoder", "other", "origin"),
    ],
)
def test_a_folder_begun_otherwise_is_refused(
    option, value, field, latents, encode, autoencoder, tmp_path, capsys
):
    before = contents(latents)
    encode[1] = json.loads(before["plan.json"])["location"]
    if value == "other":
        (tmp_path / "other").symlink_to(autoencoder)
        value = str(tmp_path / "other")
    assert main([*encode, "--out", str(latents), option, value]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert f"was begun with another {field}" in errors[0]
    assert contents(latents) == before


def test_a_bad_image_stops_or_is_named_in_the_index(pictures, encode, tmp_path, capsys):
    broken = pictures / "ant" / "03.png"
    broken.write_bytes(broken.read_bytes()[:200])
    out = tmp_path / "out"
    assert main([*encode, "--out", str(out)]) == 2
    assert f"{broken} cannot be used" in capsys.readouterr().err
    (pictures / "cow").mkdir()
    out = tmp_path / "lenient"
    assert main([*encode, "--out", str(out), "--on-bad", "skip"]) == 0
    index = json.loads((out / "index.json").read_bytes())
    assert [shard["count"] for shard in index["shards"]] == [3, 4, 3]
    assert [entry["where"] for entry in index["shards"][0]["bad"]] == [str(broken)]
    assert [entry["where"] for entry in index["plan"]["bad"]] == [str(pictures / "cow")]
    assert f"left out: {broken}: " in capsys.readouterr().out


def test_a_shard_of_bad_images_is_empty(pictures, encode, tmp_path):
    for path in sorted(pictures.rglob("*.png"))[:4]:
        path.write_bytes(b"")
    out = tmp_path / "out"
    assert main([*encode, "--out", str(out), "--on-bad", "skip", "--dtype", "float16"]) == 0
    assert load_file(out / "moments-00000.safetensors")["moments"].shape == (0, 2, 4, 4, 4)
    assert load_file(out / "moments-00001.safetensors")["moments"].dtype == np.float16


def test_check_finds_a_flipped_bit(latents, capsys):
    assert main(["check", str(latents)]) == 0
    assert "11 images in 2 classes" in capsys.readouterr().out
    shard = latents / "moments-00002.safetensors"
    content = bytearray(shard.read_bytes())
    content[-20] ^= 1
    shard.write_bytes(content)
    assert main(["check", str(latents)]) == 1
    assert f"{shard}: sha256 is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (["--size", "0"], "argument --size: got '0'"),
        (["--size", "18"], "argument --size: got 18; allowed: multiples of 4"),
        (["--channels", "4"], "channels of its latents: got 2; allowed: 4"),
        (["--autoencoder", "/none"], "autoencoder: got '/none'"),
        (["--shard", "2/2"], "argument --shard: got '2/2'"),
        (["--shard", "1"], "argument --shard: got '1'"),
        (["--device", "tpu"], "argument --device: invalid choice"),
        (["--on-bad", "ignore"], "argument --on-bad"),
    ],
)
def test_bad_arguments_are_one_line(changes, complaint, encode, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*encode, "--out", str(out), *changes]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("python -m model.latents")
    assert complaint in errors[0]
    assert not out.exists()


def test_a_stream_is_refused(encode, class_index, tmp_path, capsys):
    encode[1] = "pipe:cat x.tar"
    out = tmp_path / "out"
    assert main([*encode, "--out", str(out), "--class-index", str(class_index)]) == 2
    assert "download it first" in capsys.readouterr().err


def test_a_folder_of_other_things_is_not_touched(encode, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert main([*encode, "--out", str(tmp_path / "mine")]) == 2
    assert "it holds other things" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_share_is_what_was_asked_for_or_what_torchrun_says():
    assert chosen_share(None, {}) == (0, 1)
    assert chosen_share((1, 3), {}) == (1, 3)
    assert chosen_share(None, {"RANK": "2", "WORLD_SIZE": "4"}) == (2, 4)
    with pytest.raises(ArgumentRefused, match="under torchrun"):
        chosen_share((1, 3), {"RANK": "2", "WORLD_SIZE": "4"})


@pytest.mark.parametrize("command", ["encode", "import-features", "check"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "DIR" in capsys.readouterr().out
