"""What is shown of a run, and that looking changes nothing."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

from model.training.display import Display
from model.training.loop import Report

REPORT = Report(
    step=50, loss=1.5, branches=(0.5, 1.0), gradient_norm=2.0, rate=1e-3, images_per_s=80.0
)


def test_grids_appear_at_their_steps_and_change_no_weight(write_recipe, call, weights, tmp_path):
    recipe = write_recipe(steps=7)
    assert call(recipe, tmp_path / "blind", "--no-tensorboard") == 0
    assert call(recipe, tmp_path / "seen", "--samples-every", "3", "--sample-classes", "2") == 0
    grids = sorted((tmp_path / "seen" / "samples").iterdir())
    assert [path.name for path in grids] == ["step-000000003.png", "step-000000006.png"]
    for path in grids:
        with Image.open(path) as picture:
            picture.load()
            assert json.loads(picture.info["parameters"])["shows"] == [0, 1]
    assert not (tmp_path / "blind" / "samples").exists()
    for name, value in weights(tmp_path / "blind").items():
        torch.testing.assert_close(weights(tmp_path / "seen")[name], value, atol=0, rtol=0)


def test_without_a_terminal_a_report_is_one_line(capsys):
    with Display(steps=150, start=0, batch=4) as display:
        display.advance(49)
        display.show(REPORT)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "training: step 50/150  loss 1.5000  80.0 images/s  0:00:05 left"


TERMINAL = """
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
shown = b""
while True:
    try:
        shown += os.read(terminal, 65536)
    except OSError:
        break
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
IN_TERMINAL = """
from model.training.display import Display
from model.training.loop import Report
with Display(steps=150, start=40, batch=4) as display:
    display.advance(49)
    display.show(Report(50, 1.5, (0.5, 1.0), 2.0, 1e-3, 80.0))
    display.advance(57)
"""


@pytest.mark.slow
def test_on_a_terminal_the_bar_moves_with_every_step_and_shows_loss_and_pace():
    shown = subprocess.run(
        [sys.executable, "-c", TERMINAL, IN_TERMINAL],
        capture_output=True,
        check=True,
        timeout=90,
        text=True,
        env={"TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": ":".join(sys.path)},
    ).stdout
    last = [line for line in shown.splitlines() if "/150" in line][-1]
    assert "57/150" in last
    assert "loss 1.5000  80.0 images/s" in last
