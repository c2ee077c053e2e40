"""What a run folder remembers, and what may not be asked of it."""

import json

import pytest
import torch

from model.specs.training import ExecutionSpec
from model.training import run as runs
from model.training.checkpoint import ResumeRefused
from model.training.distributed import World

ALONE, PAIR = (World(0, size, torch.device("cpu")) for size in (1, 2))


@pytest.mark.parametrize(
    ("world", "execution", "complaint"),
    [
        (PAIR, {"accumulate": 3}, r"training.batch: got 4; allowed: a multiple of 6 \(2 processes"),
        (ALONE, {"accumulate": 8}, "training.batch: got 4; allowed: a multiple of 8"),
        (PAIR, {"precision": "fp16", "parallelism": "fsdp"}, "--precision: got 'fp16'; allowed"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_recipe, world, execution, complaint):
    with pytest.raises(ValueError, match=complaint):
        runs.check_fits(tiny_recipe, ExecutionSpec.model_validate(execution), world)


def test_what_fits_is_taken(tiny_recipe):
    fitting = ExecutionSpec.model_validate({"precision": "bf16", "parallelism": "fsdp"})
    runs.check_fits(tiny_recipe, fitting, PAIR)
    runs.check_fits(tiny_recipe, ExecutionSpec(accumulate=2), PAIR)


def test_what_is_done_otherwise_than_before_is_named_and_nothing_else(
    tiny_recipe, varied, tmp_path
):
    plain = ExecutionSpec()
    now = runs.Circumstances(tiny_recipe, plain, ALONE, "pictures", 21)
    assert runs.difference(tmp_path, now) is None
    runs.record(tmp_path, now)
    assert runs.difference(tmp_path, now) is None
    other = ExecutionSpec.model_validate({"precision": "bf16"})
    faster = varied(optimiser={"rate": 0.5})
    assert runs.difference(tmp_path, runs.Circumstances(faster, other, PAIR, "pictures", 24)) == (
        "precision was fp32, is bf16, processes was 1, is 2, examples was 21, is 24, "
        "rate was 0.001, is 0.5"
    )
    facts = json.loads((tmp_path / "execution.json").read_text())
    assert facts["threads"] == torch.get_num_threads()


def test_the_rate_may_change_on_the_way_but_not_what_is_learnt(varied, tmp_path):
    runs.record(tmp_path, runs.Circumstances(varied(), ExecutionSpec(), ALONE, "x", 1))
    runs.check_same(tmp_path, varied(steps=50, optimiser={"rate": 1e-4}))
    with pytest.raises(ResumeRefused, match=r"another training\.condition_dropout"):
        runs.check_same(tmp_path, varied(condition_dropout=0.5))


def test_a_policy_on_bad_examples_may_change_on_the_way(varied, tmp_path):
    images = {"kind": "images", "size": 16}
    started = varied(data=images)
    runs.record(tmp_path, runs.Circumstances(started, ExecutionSpec(), ALONE, "x", 1))
    runs.check_same(tmp_path, varied(data=images | {"on_bad": "skip"}))
    with pytest.raises(ResumeRefused, match="another data"):
        runs.check_same(tmp_path, varied(data=images | {"flip": True}))
