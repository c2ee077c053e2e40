"""Several processes: started by torchrun on the CPU, they do what one does."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

STEPS = 30


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def assert_close(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, **tolerance)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("processes", "options"),
    [(3, ("--accumulate", "2")), (2, ("--parallelism", "fsdp"))],
    ids=["ddp", "fsdp"],
)
def test_several_processes_do_what_one_does_and_continue_bit_for_bit_when_killed(
    write_recipe, call, launcher, weights, steps_saved, tmp_path, processes, options
):
    recipe = write_recipe(steps=STEPS, batch=12, optimiser={"tail": 0.0})
    one, shared, killed = (tmp_path / name for name in ("one", "shared", "killed"))

    assert call(recipe, one, "--samples-every", "20") == 0
    whole = launcher.run(recipe, shared, *options, "--samples-every", "20", processes=processes)
    assert whole.returncode == 0, whole.stderr
    assert "Warning" not in whole.stderr
    for mine, theirs in zip(log_of(one), log_of(shared), strict=True):
        for name in ("loss", "loss_branch_0", "loss_branch_1", "gradient_norm", "rate"):
            assert theirs[name] == pytest.approx(mine[name], rel=1e-5)
    assert_close(weights(one), weights(shared), atol=1e-5, rtol=0)

    grids = [
        np.asarray(Image.open(run / "samples" / "step-000000020.png"), int) for run in (one, shared)
    ]
    assert np.abs(grids[0] - grids[1]).max() <= 1  # levels

    often = ("--checkpoint-every", "0.01", "--no-tensorboard")
    process = launcher.start(recipe, killed, *options, *often, processes=processes)
    launcher.wait_until(process, lambda: any(step > 5 for step in steps_saved(killed)))
    launcher.kill(process)
    assert not (killed / "bundle").exists()
    shutil.copytree(killed, tmp_path / "copy")
    resumed = launcher.run(recipe, killed, *options, "--resume", processes=processes)
    assert resumed.returncode == 0, resumed.stderr
    assert "continued otherwise" not in resumed.stderr
    assert_close(weights(shared), weights(killed), atol=0, rtol=0)

    assert call(recipe, tmp_path / "copy", "--resume") == 0
    assert_close(weights(one), weights(tmp_path / "copy"), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_of_one_process_continues_on_two(write_recipe, call, launcher, weights, tmp_path):
    recipe = write_recipe(steps=12, batch=8, optimiser={"tail": 0.0})
    assert call(recipe, tmp_path / "one") == 0
    assert call(recipe, tmp_path / "two", "--steps", "6") == 0
    run = launcher.run(recipe, tmp_path / "two", "--resume", "--parallelism", "fsdp", processes=2)
    assert run.returncode == 0, run.stderr
    assert "not bit for bit: parallelism was ddp, is fsdp, processes was 1, is 2" in run.stderr
    assert_close(weights(tmp_path / "one"), weights(tmp_path / "two"), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stopped_torchrun_saves_whatever_its_reading_processes_are_told(
    write_recipe, call, launcher, pictures, weights, tmp_path
):
    data = {"kind": "images", "size": 16, "flip": True}
    recipe = write_recipe(
        data=data, network={"classes": 2}, steps=100_000, batch=4, optimiser={"tail": 0.0}
    )
    run, whole = tmp_path / "run", tmp_path / "whole"
    process = launcher.start(recipe, run, "--workers", "1", processes=2, data=pictures)
    launcher.wait_until(process, (run / "log.jsonl").is_file)
    process.send_signal(signal.SIGTERM)  # torchrun passes it on to the group of each process
    stopped = launcher.finished(process)
    assert stopped.returncode == 1  # of torchrun, which calls every signal a failure
    assert "stopped at step" in stopped.stdout
    assert "model.training FAILED" not in stopped.stderr
    assert "DataLoader" not in stopped.stderr

    step = json.loads(next((run / "checkpoints").glob("*/state.json")).read_text())["step"]
    assert step >= 50
    until = ("--steps", str(step + 2))
    assert call(recipe, run, *until, "--resume", data=pictures) == 0
    assert call(recipe, whole, *until, data=pictures) == 0
    assert_close(weights(whole), weights(run), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_example_that_one_process_cannot_read_stops_all_in_one_line_each(
    write_recipe, launcher, pictures, tmp_path
):
    (pictures / "dog" / "9.png").write_bytes(b"no picture")
    data = {"kind": "images", "size": 16}
    recipe = write_recipe(data=data, network={"classes": 2}, steps=60)
    ended = launcher.run(recipe, tmp_path / "run", "--workers", "1", processes=2, data=pictures)
    assert ended.returncode == 1
    ours = sorted(line for line in ended.stderr.splitlines() if line.startswith("dimr-train: "))
    assert len(ours) == 2
    assert ours[0].startswith(f"dimr-train: {pictures / 'dog' / '9.png'} cannot be used: ")
    assert ours[1] == "dimr-train: stopped, as another process could not read its examples"
    assert "[rank" not in ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_process_that_dies_takes_the_others_with_it_in_one_line(write_recipe, launcher, tmp_path):
    recipe, run = write_recipe(steps=100_000), tmp_path / "run"
    process = launcher.start(recipe, run, "--no-tensorboard", processes=2)
    launcher.wait_until(process, (run / "log.jsonl").is_file)
    os.kill(launcher.children(process)[1], signal.SIGKILL)
    ended = launcher.finished(process)
    assert ended.returncode == 1
    ours = [line for line in ended.stderr.splitlines() if line.startswith("dimr-train: ")]
    assert ours == ["dimr-train: another process of this run has stopped; what it said tells why"]
    assert "[rank" not in ended.stderr
