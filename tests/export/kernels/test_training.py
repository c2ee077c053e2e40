"""dimr-train with Triton's kernels, which the interpreter runs, beside dimr-train without."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from export.kernels.errors import TrainingUnfit
from export.kernels.training import main as train_with_kernels
from export.kernels.training import put
from model.specs.files import read_recipe
from model.training.__main__ import main as train

DATA = Path(__file__).parents[3] / "deploy" / "data" / "emoji"
SCRIPT = """
import json, sys
from export.kernels.training import main
sys.exit(max(main(arguments) for arguments in json.loads(sys.argv[1])))
"""


@pytest.fixture
def recipe(tmp_path):
    """Three classes, both kinds of stage and of norm, nothing that a CPU would notice."""
    whole = read_recipe("emoji-32").model_dump(mode="json")
    low, high = whole["network"]["stages"]
    low |= {"dim": 16, "blocks": 1, "hidden": 16, "heads": 2, "patch": 4}
    high |= {"dim": 8, "blocks": 1, "hidden": 8, "kernel": 3, "patch": 2}
    whole["network"] |= {"classes": 3, "size": 8}
    whole["data"] |= {"concepts": ["star", "red apple", "automobile"], "size": 16}
    whole["training"] |= {"batch": 2}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(whole))
    return path


@pytest.fixture(autouse=True)
def process_as_before():
    """dimr-train sets threads and takes signals."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def arguments(recipe):
    def of(run, steps, *more):
        given = [recipe, "--data", DATA, "--out", run, "--steps", steps, "--threads", 1, *more]
        return list(map(str, [*given, "--device", "cpu", "--no-tensorboard"]))

    return of


def learnt(run, step):
    """Weights, their average, and sums of gradients by name."""
    return load_file(run / "checkpoints" / f"step-{step:09d}" / "state.safetensors")


def reported(run, step):
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return next(line for line in lines if line["step"] == step)


def same_reports(run, other, step, rtol):
    for name in ("loss", "gradient_norm"):
        assert reported(run, step)[name] == pytest.approx(reported(other, step)[name], rel=rtol)


def same_weights(run, other, step):
    """To within rounding, which AdamW's first steps make larger."""
    ours, theirs = learnt(run, step), learnt(other, step)
    assert ours.keys() == theirs.keys()
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)  # rounded by kernels
    for name, tensor in theirs.items():
        scale = 1e-3 * float(tensor.abs().max())
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=scale)


@pytest.mark.slow
def test_runs_with_kernels_and_without_learn_the_same_and_continue_each_other(arguments, tmp_path):
    plain, half = (tmp_path / name for name in ("plain", "half"))
    kernels, half_kernels = (tmp_path / name for name in ("kernels", "half-kernels"))
    assert train(arguments(plain, 2)) == 0
    assert train(arguments(half, 2, "--precision", "bf16")) == 0
    shutil.copytree(half, half_kernels)
    continue_half = (3, "--precision", "bf16", "--resume")
    with_kernels = [arguments(kernels, 2), arguments(half_kernels, *continue_half)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(with_kernels)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert "continued otherwise, so not bit for bit: kernels was pytorch, is triton" in done.stderr
    assert any("scale.slope" in name for name in learnt(kernels, 2))

    same_reports(kernels, plain, 2, rtol=1e-5)
    same_weights(kernels, plain, 2)
    assert train(arguments(half, *continue_half)) == 0
    same_reports(half_kernels, half, 3, rtol=2e-2)
    for run in (kernels, plain):
        assert train(arguments(run, 3, "--resume")) == 0
    same_weights(kernels, plain, 3)


def test_a_device_on_which_kernels_do_not_run_is_refused(arguments, tmp_path, capsys):
    assert train_with_kernels(arguments(tmp_path / "run", 2)) == 2
    said = capsys.readouterr().err
    assert said.startswith("dimr-train: Triton's kernels are not for device 'cpu': x: got a ")
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_network_without_their_norms_is_refused():
    with pytest.raises(TrainingUnfit, match="not for this network: it has no time-dependent norm"):
        put(torch.nn.Linear(2, 2))
