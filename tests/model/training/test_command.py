"""dimr-train as a user meets it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from model.bundle import load_bundle
from model.specs.files import read_recipe
from model.training.__main__ import main

DATA = Path(__file__).parents[3] / "deploy" / "data" / "emoji"


@pytest.fixture(autouse=True)
def keep_signal_handlers():
    """The command installs its own; give the test runner's back."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def recipe_file(tiny_recipe, tmp_path):
    values = json.loads(tiny_recipe.model_dump_json())
    values["data"] = {"concepts": ["star", "red apple", "automobile"], "size": 16}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(values))
    return path


def train(recipe_file, out, *more):
    return main([str(recipe_file), "--data", str(DATA), "--out", str(out), *more])


def test_a_finished_run_leaves_a_bundle_with_names_and_aliases(recipe_file, tmp_path):
    assert train(recipe_file, tmp_path / "run") == 0
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert [label.name for label in bundle.labels] == ["star", "red apple", "automobile"]
    assert "car" in bundle.labels[2].aliases
    assert bundle.manifest.provenance["steps"] == 6


@pytest.mark.timeout(180)
def test_a_run_killed_without_warning_continues_to_the_same_weights(recipe_file, tmp_path):
    values = json.loads(recipe_file.read_text())
    values["training"]["steps"] = 150
    recipe_file.write_text(json.dumps(values))
    command = [sys.executable, "-m", "model.training", str(recipe_file)]
    command += ["--data", str(DATA), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*command, "--checkpoint-every", "0.05", "--threads", "1"], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90
    while not list((tmp_path / "run").glob("checkpoints/step-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    threads = torch.get_num_threads()
    try:
        assert train(recipe_file, tmp_path / "run", "--resume", "--threads", "1") == 0
        assert train(recipe_file, tmp_path / "whole", "--threads", "1") == 0
    finally:
        torch.set_num_threads(threads)
    resumed, whole = (load_bundle(tmp_path / name / "bundle") for name in ("run", "whole"))
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense", "--data", str(DATA)], "recipe: got 'nonsense'; allowed: dimr-"),
        (["emoji-32", "--data", "nowhere"], "nowhere"),
        (["emoji-32", "--data", str(DATA), "--steps", "0"], "steps"),
        (["emoji-32", "--data", str(DATA), "--threads", "0"], "--threads: got '0'; allowed"),
        (["emoji-32", "--data", str(DATA), "--resume"], "--resume"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, named, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert named in lines[0]
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten_and_never_continued_under_another_recipe(
    recipe_file, tmp_path, capsys
):
    assert train(recipe_file, tmp_path / "run") == 0
    assert train(recipe_file, tmp_path / "run") == 2
    assert "already holds a run" in capsys.readouterr().err
    values = json.loads(recipe_file.read_text())
    values["network"]["stages"][1]["hidden"] = 16
    recipe_file.write_text(json.dumps(values))
    assert train(recipe_file, tmp_path / "run", "--resume") == 2
    assert "network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "No Spaces"}, "id"),
        ({"colour": "red"}, "colour"),
        ({"process": {"schedule": {"kind": "cosine"}, "prediction": "x"}}, "process.prediction"),
    ],
)
def test_a_recipe_that_does_not_validate_names_the_field(recipe_file, change, named):
    recipe_file.write_text(json.dumps(json.loads(recipe_file.read_text()) | change))
    with pytest.raises(ValueError, match=named):
        read_recipe(str(recipe_file))


def test_data_and_network_must_agree(recipe_file, tmp_path, capsys):
    values = json.loads(recipe_file.read_text())
    values["data"]["size"] = 32
    recipe_file.write_text(json.dumps(values))
    assert train(recipe_file, tmp_path / "run") == 2
    assert "(12, 8, 8); the data give (12, 16, 16)" in capsys.readouterr().err
