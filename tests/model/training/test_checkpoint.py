"""Checkpoints: complete, kept by policy, and refused when damaged."""

import pytest
import torch

from model.training import checkpoint
from model.training.distributed import World

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def state(trainer, tiny_recipe):
    return trainer.start(tiny_recipe)


def saved(folder):
    return sorted(int(p.name[5:]) for p in (folder / "checkpoints").glob("step-*"))


def test_only_the_newest_checkpoints_are_kept_and_half_written_ones_do_not_count(state, tmp_path):
    for step in (1, 2, 3):
        state.step = step
        checkpoint.save(tmp_path, state, ALONE, keep=checkpoint.Keep(newest=2))
    (tmp_path / "checkpoints" / ".step-000000009.77").mkdir()
    assert saved(tmp_path) == [2, 3]
    assert checkpoint.newest(tmp_path) == tmp_path / "checkpoints" / "step-000000003"


def test_every_so_many_steps_one_is_kept_for_good(state, tmp_path):
    for step in range(1, 8):
        state.step = step
        checkpoint.save(tmp_path, state, ALONE, keep=checkpoint.Keep(newest=1, every=3))
    assert saved(tmp_path) == [3, 6, 7]


def test_resuming_nothing_is_refused(state, tmp_path):
    with pytest.raises(checkpoint.ResumeRefused, match="no checkpoint"):
        checkpoint.restore(tmp_path, state, ALONE)


@pytest.mark.parametrize("damaged", ["state.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused_by_name(state, tmp_path, damaged):
    checkpoint.save(tmp_path, state, ALONE, keep=checkpoint.Keep())
    path = tmp_path / "checkpoints" / "step-000000000" / damaged
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(checkpoint.ResumeRefused, match="step-000000000 is damaged"):
        checkpoint.restore(tmp_path, state, ALONE)


def test_a_position_in_a_stream_belongs_to_its_process(state, tmp_path):
    state.position = [[3, 14]]
    checkpoint.save(tmp_path, state, ALONE, keep=checkpoint.Keep())
    state.position = None
    checkpoint.restore(tmp_path, state, ALONE)
    assert state.position == [[3, 14]]
    with pytest.raises(checkpoint.ResumeRefused, match="got 2; allowed: 1"):
        checkpoint.restore(tmp_path, state, World(0, 2, torch.device("cpu")))


def test_what_a_killed_process_left_half_written_is_cleared_away(state, tmp_path):
    unfinished = tmp_path / "checkpoints" / ".step-000000009"
    unfinished.mkdir(parents=True)
    (unfinished / "state.safetensors").write_bytes(b"half")
    checkpoint.save(tmp_path, state, ALONE, keep=checkpoint.Keep())
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000000000"]


def test_a_checkpoint_that_is_there_is_not_touched_again(state, tmp_path):
    checkpoint.save(tmp_path, state, ALONE, keep=checkpoint.Keep())
    path = tmp_path / "checkpoints" / "step-000000000" / "state.safetensors"
    before = path.stat()
    checkpoint.save(tmp_path, state, ALONE, keep=checkpoint.Keep())
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("facts", ["{}", "[]", '{"step": "x", "positions": [], "scaler": {}}'])
def test_facts_that_lack_something_are_refused_by_name(state, tmp_path, facts):
    checkpoint.save(tmp_path, state, ALONE, keep=checkpoint.Keep())
    (tmp_path / "checkpoints" / "step-000000000" / "state.json").write_text(facts)
    with pytest.raises(checkpoint.ResumeRefused, match="step-000000000 is damaged"):
        checkpoint.restore(tmp_path, state, ALONE)
