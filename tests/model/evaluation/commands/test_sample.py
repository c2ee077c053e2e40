"""dimr-evaluate sample."""

import json
import signal
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from model.bundle import load_bundle
from model.evaluation.__main__ import main
from model.sampling.images import ImageRequest, generate

FEW = ("--n", "7", "--steps", "2", "--guidance", "1", "--threads", "1")


@pytest.fixture
def sample(bundle_folder, tmp_path):
    """Run the command into a file of tmp_path, with little work."""

    def run(*arguments, out="samples.npz"):
        return main(["sample", str(bundle_folder), "--out", str(tmp_path / out), *FEW, *arguments])

    return run


@pytest.fixture
def archive(tmp_path):
    """Images and classes in a file of tmp_path."""

    def read(name="samples.npz"):
        with np.load(tmp_path / name, allow_pickle=False) as arrays:
            return arrays["arr_0"], arrays["arr_1"]

    return read


@contextmanager
def interrupted_after(seconds):
    """Ctrl-C once the process has worked so long.

    It may strike inside `torch.no_grad` itself, so gradients are switched back on for other tests.
    """

    def interrupt(received, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        torch.set_grad_enabled(True)
        signal.signal(signal.SIGVTALRM, before)


def test_the_images_are_those_of_the_plan(sample, archive, bundle_folder, capsys):
    assert sample("--seed", "40") == 0
    images, labels = archive()
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    bundle = load_bundle(bundle_folder)
    requests = [
        ImageRequest(condition=label, seed=40 + i, steps=2, sampler="dpmpp_2m", guidance=1.0)
        for i, label in enumerate(labels.tolist())
    ]
    np.testing.assert_array_equal(images, np.stack(list(generate(bundle, requests, batch=8))))
    assert "7 images of 3 classes" in capsys.readouterr().out


def test_a_prompt_model_shows_captions(prompt_bundle_folder, archive, tmp_path, capsys):
    (tmp_path / "captions.txt").write_text("red apple\na frog\n\nbanana\n")
    command = ("sample", str(prompt_bundle_folder), "--out", str(tmp_path / "samples.npz"), *FEW)
    captions = ("--captions", str(tmp_path / "captions.txt"), "--size", "8", "--seed", "5")
    assert main([*command, *captions]) == 0
    images, places = archive()
    assert images.shape == (7, 8, 8, 3)
    assert sorted(places.tolist()[:3]) == sorted(places.tolist()[3:6]) == [0, 1, 2]
    texts = ("red apple", "a frog", "banana")
    requests = [
        ImageRequest(
            condition=texts[place], seed=5 + i, steps=2, sampler="dpmpp_2m", guidance=1.0, size=8
        )
        for i, place in enumerate(places.tolist())
    ]
    bundle = load_bundle(prompt_bundle_folder)
    np.testing.assert_array_equal(images, np.stack(list(generate(bundle, requests, batch=8))))
    assert "7 images of 3 captions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--captions: tiny-layered draws what a text says"),
        (["--captions", "nowhere.txt"], "nowhere.txt"),
        (["--captions", "none.txt"], "it holds no caption"),
        (["--captions", "one.txt", "--size", "9"], "--size: got 9"),
    ],
)
def test_what_a_prompt_model_cannot_show_is_refused(
    prompt_bundle_folder, tmp_path, monkeypatch, capsys, arguments, named
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.txt").write_text("\n")
    (tmp_path / "one.txt").write_text("frog\n")
    assert main(["sample", str(prompt_bundle_folder), "--out", "samples.npz", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert named in lines[0]
    assert not list(tmp_path.glob("samples*"))


def test_only_the_file_and_its_plan_stay(sample, tmp_path):
    sample()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["bundle", "samples.npz", "samples.plan.json"]
    plan = json.loads((tmp_path / "samples.plan.json").read_text())
    assert (plan["images"], plan["sampling"]["steps"], plan["bundle_id"]) == (7, 2, "tiny")


@pytest.mark.parametrize("arguments", [["--batch", "2"], ["--batch", "7"], ["--shard", "0/1"]])
def test_neither_batches_nor_shards_change_an_image(sample, archive, arguments):
    sample(out="whole.npz")
    assert sample(*arguments) == 0
    difference = archive("whole.npz")[0].astype(int) - archive()[0]
    assert np.abs(difference).max() <= 1  # rounding


def test_the_last_shard_puts_the_parts_together(sample, archive, tmp_path, capsys):
    sample(out="whole.npz")
    assert sample("--shard", "1/3", "--batch", "2") == 0
    assert "5 of 7 images are missing, the first is 0" in capsys.readouterr().out
    assert sample("--shard", "0/3") == 0
    assert not (tmp_path / "samples.npz").exists()
    assert sample("--shard", "2/3") == 0
    np.testing.assert_allclose(archive()[0], archive("whole.npz")[0], atol=1)
    assert not (tmp_path / "samples.npz.parts").exists()


def test_torchrun_says_which_share_is_whose(sample, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sample("--batch", "8") == 0
    parts = sorted(path.name for path in (tmp_path / "samples.npz.parts").glob("*.npy"))
    assert parts == ["000000003-000000007.npy"]


def test_interrupted_anywhere_the_same_command_continues(sample, archive, capsys):
    sample(out="whole.npz")
    seconds, ends = 0.01, []
    while 0 not in ends:
        try:
            with interrupted_after(seconds):
                ends.append(sample("--batch", "1"))
        except KeyboardInterrupt:
            ends.append(None)  # outside of the command
        seconds *= 1.3
    assert 130 in ends
    assert "the same command continues" in capsys.readouterr().err
    np.testing.assert_allclose(archive()[0], archive("whole.npz")[0], atol=1)


def test_what_was_made_is_not_made_again(sample, tmp_path):
    sample("--shard", "0/2", "--batch", "1")
    marked = tmp_path / "samples.npz.parts" / "000000001-000000002.npy"
    image = np.load(marked)
    np.save(marked, np.zeros_like(image))
    (tmp_path / "samples.npz.parts" / ".000000003-000000007.npy.99").write_bytes(b"half")
    assert sample() == 0
    with np.load(tmp_path / "samples.npz") as arrays:
        assert not arrays["arr_0"][1].any()
        assert arrays["arr_0"][[0, *range(2, 7)]].any(axis=(1, 2, 3)).all()


def test_a_finished_file_is_left_alone(sample, tmp_path, capsys):
    sample()
    before = (tmp_path / "samples.npz").stat()
    assert sample("--shard", "1/2") == 0
    assert "7 images are in" in capsys.readouterr().out
    assert (tmp_path / "samples.npz").stat() == before


def test_parts_are_put_together_on_their_own_once_all_are_there(sample, archive, tmp_path, capsys):
    assert sample("--merge") == 2
    assert "there is no" in capsys.readouterr().err
    sample("--shard", "0/2")
    assert sample("--merge") == 2
    assert "--merge: 4 of 7 images are missing, the first is 3" in capsys.readouterr().err
    folder = tmp_path / "samples.npz.parts"
    np.save(folder / "000000003-000000007.npy", np.zeros((4, 16, 16, 3), np.uint8))
    assert sample("--merge") == 0
    assert archive()[0].shape == (7, 16, 16, 3)


def test_other_arguments_are_refused(sample, tmp_path, capsys):
    sample("--shard", "0/2")
    assert sample("--seed", "1") == 2
    assert "seed: got 1, but the images there were made with 0" in capsys.readouterr().err
    sample()
    assert sample("--steps", "3") == 2
    assert "sampling.steps: got 3" in capsys.readouterr().err
    (tmp_path / "other.npz").write_text("kept")
    assert sample(out="other.npz") == 2
    assert (tmp_path / "other.npz").read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--n", "0"], ["--n", "'0'", "from 1"]),
        (["--batch", "0"], ["--batch", "'0'"]),
        (["--shard", "2/2"], ["--shard", "'2/2'", "I from 0 to N - 1"]),
        (["--shard", "half"], ["--shard", "'half'"]),
        (["--shard", "0/2", "--merge"], ["--merge", "--shard"]),
        (["--seed", str(2**63 - 1)], ["--seed", f"{2**63 - 7}"]),
        (["--out", "samples.txt"], ["--out", "'samples.txt'", ".npz"]),
        (["--sampler", "x"], ["--sampler", "'x'"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_bad_value_is_one_clear_line_and_nothing_is_written(
    sample, tmp_path, capsys, arguments, named
):
    assert sample(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dimr-evaluate: ")
    for part in named:
        assert part in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_strange_environment_is_refused(sample, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sample() == 2
    assert "RANK / WORLD_SIZE: got '5/2'" in capsys.readouterr().err
