"""dimr-export: what it says about files that it cannot read, and places that it cannot write."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from export.__main__ import main
from export.official import Import, import_official
from model.denoisers.layered import LayeredUNet
from model.specs.layered import LayeredSpec, Level, TextInput

BIAS = "stages.0.blocks.0.block1.dense.bias"


@pytest.fixture
def checkpoint(state_dict, tmp_path):
    path = tmp_path / "DiMR XL.pth"
    torch.save(state_dict, path)
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def convert(checkpoint, out, *more):
    return run("import-official", checkpoint, "--heads", 4, "--out", out, *more)


class Code:
    """Something whose unpickling would run a command."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:-size])


def flip_a_byte_of_a_tensor(path, state_dict):
    content = bytearray(path.read_bytes())
    content[content.index(state_dict[BIAS].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda p, sd: p.unlink(), "argument CHECKPOINT: got"),
        (
            lambda p, sd: cut(p, 100),
            "damaged or not whole: it cannot be read as a checkpoint of PyTorch\n",
        ),
        (lambda p, sd: p.write_bytes(b""), "damaged or not whole"),
        (lambda p, sd: p.write_text("hello"), "damaged"),
        (flip_a_byte_of_a_tensor, "does not have the content that its checksum was made of"),
        (lambda p, sd: (p.unlink(), p.mkdir()), "a folder; allowed: a file: .pth"),
        (lambda p, sd: torch.save(sd | {BIAS: sd[BIAS] / 0}, p), f"not finite as float32: {BIAS}"),
        (lambda p, sd: torch.save(sd | {BIAS: sd[BIAS].to_sparse()}, p), f"{BIAS} (sparse_coo)"),
        (lambda p, sd: torch.save([1], p), "holds a list; allowed: a dictionary"),
        (lambda p, sd: torch.save({"a": torch.zeros(1)}, p), "no tensor is named stages.N"),
        (
            lambda p, sd: torch.save({k: v for k, v in sd.items() if "w2.bias" not in k}, p),
            "missing stages.0.blocks.0.block2.w2.bias",
        ),
        (lambda p, sd: torch.save(sd | {"extra": torch.zeros(1)}, p), "unexpected extra"),
        (
            lambda p, sd: torch.save(
                sd
                | {
                    "stages.0.blocks.0.block1.dense.bias": sd[
                        "stages.0.blocks.0.block1.dense.bias"
                    ][1:]
                },
                p,
            ),
            "misshapen stages.0.blocks.0.block1.dense.bias: (31,) instead of (32,)",
        ),
    ],
    ids=[
        "absent",
        "cut",
        "empty",
        "text",
        "flipped",
        "folder",
        "not finite",
        "sparse",
        "list",
        "foreign",
        "missing",
        "extra",
        "misshapen",
    ],
)
def test_a_bad_checkpoint_is_refused_in_one_line(
    checkpoint, state_dict, tmp_path, capsys, harm, named
):
    harm(checkpoint, state_dict)
    assert convert(checkpoint, tmp_path / "out" / "bundle") == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.startswith("dimr-export: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_code_in_a_checkpoint_is_refused_and_not_run(state_dict, tmp_path, capsys):
    torch.save({"model": state_dict, "hook": Code(tmp_path / "trace")}, tmp_path / "c.pth")
    assert convert(tmp_path / "c.pth", tmp_path / "bundle") == 2
    assert "holds more than weights: posix.mkdir" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()


def test_arrays_of_objects_are_refused(tmp_path, capsys):
    np.savez(tmp_path / "c.npz", a=np.array([{}], dtype=object))
    assert convert(tmp_path / "c.npz", tmp_path / "bundle") == 2
    assert "damaged or not whole" in capsys.readouterr().err


def test_a_damaged_archive_of_numpy_is_refused(state_dict, tmp_path, capsys):
    path = tmp_path / "arrays.npz"
    np.savez(path, **{name: value.numpy() for name, value in state_dict.items()})
    flip_a_byte_of_a_tensor(path, state_dict)
    assert convert(path, tmp_path / "bundle") == 2
    assert "checksum" in capsys.readouterr().err


def test_bytes_of_a_checkpoint_are_counted_while_it_is_checked_and_while_it_is_hashed(
    checkpoint, tmp_path
):
    said = Import(
        heads=[4],
        place=None,
        id=None,
        description=None,
        licence="none",
        classes=None,
        codec=None,
        autoencoder=None,
    )
    seen: dict[str, int] = {}
    stages: list[str] = []

    def count(size_bytes):
        seen[stages[-1]] = seen.get(stages[-1], 0) + size_bytes

    import_official(checkpoint, tmp_path / "bundle", said, stages.append, count)
    size = checkpoint.stat().st_size
    assert stages == ["reading", "hashing", "writing"]
    assert seen["hashing"] == size
    assert size / 2 < seen["reading"] < size


def test_a_layered_network_is_none_of_the_authors(tmp_path, capsys):
    level = Level(width=8, blocks=1)
    network = LayeredUNet(
        LayeredSpec(
            scales=(8, 16),
            core=(level,),
            outer=(level,),
            middle=0,
            head_width=8,
            embedding=8,
            text=TextInput(width=8, tokens=2),
        )
    )
    save_file(network.state_dict(), tmp_path / "layered.safetensors")
    assert convert(tmp_path / "layered.safetensors", tmp_path / "bundle") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimr-export: no tensor is named stages.N")
    assert not (tmp_path / "bundle").exists()


def test_a_place_inside_a_file_is_refused_before_the_work(checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "x" / "bundle"
    assert convert(checkpoint, out) == 2
    assert capsys.readouterr().err == (
        f"dimr-export: argument --out: got {out}: {tmp_path / 'file'} is a file; "
        f"allowed: a folder that can be written\n"
    )


def test_a_name_that_is_too_long_is_refused(checkpoint, tmp_path, capsys):
    assert convert(checkpoint, tmp_path / ("x" * 300)) == 2
    message = capsys.readouterr().err
    assert message.startswith("dimr-export: argument --out: got ")
    assert "File name too long; allowed" in message
    assert "Errno" not in message


def test_what_stands_aside_while_writing_is_not_named(checkpoint, tmp_path, capsys):
    out = tmp_path / ("x" * 250)  # with the marks of what stands aside it is too long
    assert convert(checkpoint, out) == 2
    message = capsys.readouterr().err
    assert f"argument --out: got {out}: File name too long; allowed" in message
    assert f".{out.name}" not in message
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--heads", "0"), "argument --heads: got '0'"),
        (("--heads", "5"), "heads: got 5; allowed: a divisor of dim = 32"),
        (("--heads", "4,4"), "num_heads: got 2 numbers"),
        (("--id", "Not An Id"), "argument --id: got 'Not An Id'"),
        (("--codec", "latents"), "argument --codec: got 'latents'"),
        (("--key", "ema"), "argument --key: got 'ema'"),
        (("--labels", "/absent.txt"), "argument --labels: got /absent.txt: no such file"),
        (("--autoencoder", "/absent"), "autoencoder: got '/absent'"),
        (("--colour", "red"), "unrecognized arguments: --colour red"),
    ],
)
def test_a_bad_option_is_named(checkpoint, tmp_path, capsys, options, named):
    assert convert(checkpoint, tmp_path / "bundle", *options) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count("\n") == 1
    assert not (tmp_path / "bundle").exists()


def test_too_few_labels_are_refused(checkpoint, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("a\nb\n")
    assert convert(checkpoint, tmp_path / "bundle", "--labels", tmp_path / "names.txt") == 2
    assert "argument --labels: got 2 classes; allowed: the model's 10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "crane, bird\nb\nc\nd\ne\nf\ng\nh\ni\n crane , machine\n"),
        ("names.json", json.dumps(["crane", *"bcdefghi", {"name": "crane"}])),
    ],
)
def test_two_classes_of_one_name_are_refused(checkpoint, tmp_path, capsys, name, content):
    (tmp_path / name).write_text(content)
    assert convert(checkpoint, tmp_path / "bundle", "--labels", tmp_path / name) == 2
    assert "argument --labels: got 'crane' for 2 classes" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_a_file_of_unknown_kind_is_refused(checkpoint, tmp_path, capsys):
    other = checkpoint.rename(tmp_path / "weights.h5")
    assert convert(other, tmp_path / "bundle") == 2
    assert ".safetensors" in capsys.readouterr().err


def test_what_is_no_bundle_is_never_replaced(checkpoint, tmp_path, capsys):
    home = tmp_path / "home"
    home.mkdir()
    (home / "diary.txt").write_text("dear diary")
    assert convert(checkpoint, home, "--overwrite") == 2
    assert "exists and is no bundle" in capsys.readouterr().err
    assert (home / "diary.txt").exists()


def test_a_file_name_that_makes_no_id_needs_one(checkpoint, tmp_path, capsys):
    strange = checkpoint.rename(tmp_path / "模型.pth")
    assert convert(strange, tmp_path / "bundle") == 2
    assert "say one with --id" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("import-official",), ("paint",)])
def test_an_incomplete_command_is_one_clear_line(arguments, capsys):
    assert run(*arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
