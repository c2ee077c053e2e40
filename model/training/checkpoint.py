"""Whole training states on disk: written aside and renamed, so one that is there is complete.

A checkpoint holds whole tensors whatever the processes share, so a run may continue on another
number of them.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.training.distributed import World
from model.training.state import StateMismatch, TrainingState


class ResumeRefused(ValueError):
    """The folder holds a run that cannot be continued as asked."""


class NotSaved(OSError):
    """A checkpoint could not be written; those before it are as they were."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Which checkpoints stay: the `newest` few, and those whose step `every` divides."""

    newest: int = 2  # one older in case the newest turns out to be bad
    every: int | None = None


def save(run: Path, state: TrainingState, world: World, *, keep: Keep) -> None:
    """Write checkpoints/step-N below `run`, then drop what `keep` does not name.

    Every process must call it; the leading one writes, and all return when it is on disk. One of
    this step that is there is left alone: the state of a step never differs.

    Args:
        run: folder of the run.
        state: what is saved.
        world: the processes that share it.
        keep: which checkpoints stay.

    Raises:
        NotSaved: the disk is full or refuses; nothing half-written stays.
    """
    final = run / "checkpoints" / f"step-{state.step:09d}"
    if any(world.total([world.leads and final.is_dir()])):
        return
    tensors = state.tensors(world)
    positions = world.gathered(state.position)
    if world.leads:
        facts = {
            "step": state.step,
            "positions": positions,
            "scaler": state.arithmetic.scaler.state_dict(),
        }
        _write(final, tensors, facts)
        _drop(final.parent, keep)
    world.wait()


def newest(run: Path) -> Path | None:
    """The latest complete checkpoint of a run, None if there is none."""
    return max((run / "checkpoints").glob("step-*"), default=None)


def restore(run: Path, state: TrainingState, world: World) -> None:
    """Continue from the newest checkpoint of a run.

    Raises:
        ResumeRefused: there is no checkpoint, it is damaged or of another network, or its
            positions are those of another number of processes.
    """
    folder = newest(run)
    if folder is None:
        msg = f"--resume: {run} holds no checkpoint; leave --resume out to start one"
        raise ResumeRefused(msg)
    try:
        facts = json.loads((folder / "state.json").read_text())
        step, positions = int(facts["step"]), list(facts["positions"])
        scaler = dict(facts["scaler"])
        tensors = load_file(folder / "state.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        msg = f"--resume: {folder} is damaged ({error}); remove it to use an older checkpoint"
        raise ResumeRefused(msg) from error
    try:
        state.load(tensors)
    except StateMismatch as error:
        msg = f"--resume: {folder} is of another network: {error}"
        raise ResumeRefused(msg) from error
    if scaler and state.arithmetic.scaler.is_enabled():  # a run may go on in another precision
        state.arithmetic.scaler.load_state_dict(scaler)
    state.step = step
    if any(p is not None for p in positions) and len(positions) != world.size:
        msg = (
            f"--resume: a stream continues with as many processes as before; "
            f"got {world.size}; allowed: {len(positions)}"
        )
        raise ResumeRefused(msg)
    state.position = positions[world.rank] if len(positions) == world.size else None


def _write(final: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write a checkpoint that is whole, on the disk too, from the moment it has its name."""
    folder = final.parent
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(".step-*"):  # of a process that was killed while it wrote
        shutil.rmtree(unfinished)
    aside = folder / f".{final.name}"
    aside.mkdir()
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, aside / "state.safetensors")
        (aside / "state.json").write_text(json.dumps(facts))
        for path in (aside / "state.safetensors", aside / "state.json", aside):
            _flush(path)
        aside.rename(final)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        msg = f"{final} could not be written ({error}); checkpoints before it are as they were"
        raise NotSaved(msg) from error


def _drop(folder: Path, keep: Keep) -> None:
    for old in sorted(folder.glob("step-*"))[: -keep.newest]:
        step = int(old.name.removeprefix("step-"))
        if keep.every is None or step % keep.every:
            shutil.rmtree(old)


def _flush(path: Path) -> None:
    """Have the disk hold a file or folder before anything relies on it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
