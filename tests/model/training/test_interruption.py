"""Runs that are killed, stopped and continued: they end as if they had not been."""

import json
import os
import random
import signal
import subprocess
from contextlib import suppress

import pytest
import torch

IMAGES = {"kind": "images", "size": 16, "flip": True}
AGAIN_S = 10  # long beside what an interrupted process takes to end


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=0, rtol=0)


def log_of(run):
    text = (run / "log.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_again_and_again_ends_with_the_weights_of_one_that_was_not(
    write_recipe, call, launcher, weights, steps_saved, tmp_path
):
    recipe = write_recipe(steps=150)
    often = ("--checkpoint-every", "0.01", "--no-tensorboard")
    moments = random.Random(0)  # where in a step, or in a checkpoint's writing, it is hit
    run = tmp_path / "run"
    resume: tuple[str, ...] = ()
    for _ in range(3):
        before = max(steps_saved(run), default=0)
        process = launcher.start(recipe, run, *often, *resume)
        launcher.wait_until(process, lambda b=before: max(steps_saved(run), default=0) > b + 3)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.05))
        launcher.kill(process)
        resume = ("--resume",)
    assert not (run / "bundle").exists()
    assert call(recipe, run, "--resume") == 0
    assert call(recipe, tmp_path / "whole") == 0
    assert_same(weights(tmp_path / "whole"), weights(run))
    assert [line["step"] for line in log_of(run)] == [50, 100, 150]
    assert not list((run / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_told_to_end_saves_and_finishes_another_time(
    write_recipe, call, launcher, weights, steps_saved, tmp_path
):
    recipe = write_recipe(steps=100_000, optimiser={"tail": 0.0})
    run, whole = tmp_path / "run", tmp_path / "whole"
    process = launcher.start(recipe, run)
    launcher.wait_until(process, (run / "log.jsonl").is_file)
    process.send_signal(signal.SIGTERM)
    stopped = launcher.finished(process)
    assert stopped.returncode == 0, stopped.stderr
    (step,) = steps_saved(run)
    assert stopped.stdout == f"stopped at step {step}; continue with --resume\n"
    assert call(recipe, run, "--resume", "--steps", str(step + 5)) == 0
    assert call(recipe, whole, "--steps", str(step + 5)) == 0
    assert_same(weights(whole), weights(run))


def interrupt(process):
    """Ctrl-C, and again if Python was just about to read: it then sees the first at the second."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(AGAIN_S)


@pytest.mark.slow
def test_ctrl_c_before_the_first_step_is_one_line_and_writes_nothing(
    write_recipe, launcher, pictures, tmp_path
):
    recipe = write_recipe(data=IMAGES, network={"classes": 2})
    os.mkfifo(tmp_path / "names.txt")
    process = launcher.start(
        recipe, tmp_path / "run", "--class-index", str(tmp_path / "names.txt"), data=pictures
    )
    with (tmp_path / "names.txt").open("w"):  # which waits until somebody reads
        interrupt(process)
        ended = launcher.finished(process)
    assert ended.returncode == 130
    assert ended.stderr == ("dimr-train: interrupted before the first step; nothing was written\n")
    assert not (tmp_path / "run").exists()


def test_resuming_a_finished_run_gives_its_bundle_again(emoji_recipe, call, weights, tmp_path):
    assert call(emoji_recipe, tmp_path / "run") == 0
    before, log = weights(tmp_path / "run"), log_of(tmp_path / "run")
    assert call(emoji_recipe, tmp_path / "run", "--resume") == 0
    assert_same(before, weights(tmp_path / "run"))
    assert log_of(tmp_path / "run") == log


def test_a_stream_of_shards_is_trained_on_and_continues_bit_for_bit(
    write_recipe, call, shards, weights, tmp_path
):
    location, names = shards
    recipe = write_recipe(data=IMAGES, network={"classes": 2}, optimiser={"tail": 0.0})
    more = ("--class-index", str(names))
    assert call(recipe, tmp_path / "whole", *more, data=location) == 0
    assert call(recipe, tmp_path / "run", *more, "--steps", "4", data=location) == 0
    assert call(recipe, tmp_path / "run", *more, "--resume", data=location) == 0
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))
