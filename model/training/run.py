"""A run folder: what it was started with, and whether it may be continued as asked."""

import json
from pathlib import Path

import torch

from model.files import write_whole
from model.specs.recipe import Recipe
from model.specs.training import ExecutionSpec
from model.training import checkpoint
from model.training.checkpoint import ResumeRefused
from model.training.distributed import World


def check_fits(recipe: Recipe, execution: ExecutionSpec, world: World) -> None:
    """Refuse a batch that does not divide, and what two options cannot do together.

    Raises:
        ValueError: names the option and what is allowed.
    """
    pieces = world.size * execution.accumulate
    if recipe.training.batch % pieces:
        msg = (
            f"training.batch: got {recipe.training.batch}; allowed: a multiple of {pieces} "
            f"({world.size} processes of {execution.accumulate} parts)"
        )
        raise ValueError(msg)
    if world.size > 1 and execution.parallelism == "fsdp" and execution.precision == "fp16":
        msg = "--precision: got 'fp16'; allowed with --parallelism fsdp: 'fp32' or 'bf16'"
        raise ValueError(msg)


def check_new(run: Path) -> None:
    """Refuse to start where a run already is.

    Raises:
        ResumeRefused: says how to continue it.
    """
    if checkpoint.newest(run) is not None:
        msg = (
            f"--out: {run} already holds a run; add --resume to continue it, or name another folder"
        )
        raise ResumeRefused(msg)


def check_same(run: Path, recipe: Recipe) -> None:
    """Refuse to resume where the weights or the order of the data would no longer fit.

    Raises:
        ResumeRefused: names what differs.
    """
    path = run / "recipe.json"
    if not path.is_file():
        return  # no run at all, which `restore` refuses
    started = Recipe.model_validate_json(path.read_text("utf-8"))
    same: list[tuple[str, object, object]] = [
        (part, getattr(started, part), getattr(recipe, part))
        for part in ("network", "process", "data")
    ]
    same += [
        (f"training.{part}", getattr(started.training, part), getattr(recipe.training, part))
        for part in ("seed", "batch", "class_dropout", "loss", "times")
    ]
    for part, before, now in same:
        if before != now:
            msg = f"--resume: {run} was started with another {part}; allowed: {path}"
            raise ResumeRefused(msg)


def check_steps(run: Path, recipe: Recipe, step: int) -> None:
    """Refuse to resume beyond the end.

    Raises:
        ResumeRefused: the recipe has fewer steps than were taken.
    """
    if step > recipe.training.steps:
        msg = (
            f"--steps: got {recipe.training.steps}; allowed: at least {step}, "
            f"the step of the newest checkpoint in {run}"
        )
        raise ResumeRefused(msg)


def difference(run: Path, execution: ExecutionSpec, world: World) -> str | None:
    """How this continuation is carried out otherwise than before, None where it is the same.

    Weights are then those of an uninterrupted run to rounding, not bit for bit.
    """
    path = run / "execution.json"
    if not path.is_file():
        return None
    before, now = json.loads(path.read_text("utf-8")), _described(execution, world)
    changed = [name for name in now if before.get(name) != now[name]]
    return ", ".join(f"{name} was {before.get(name)}, is {now[name]}" for name in changed) or None


def record(run: Path, recipe: Recipe, execution: ExecutionSpec, world: World) -> None:
    """Write what the run is started or continued with."""
    run.mkdir(parents=True, exist_ok=True)
    write_whole(run / "recipe.json", recipe.model_dump_json(indent=2).encode())
    facts = json.dumps(_described(execution, world)) + "\n"
    write_whole(run / "execution.json", facts.encode())


def _described(execution: ExecutionSpec, world: World) -> dict[str, object]:
    facts: dict[str, object] = execution.model_dump(mode="json")
    facts |= {"processes": world.size, "device": world.device.type}
    if world.device.type == "cpu":
        facts["threads"] = torch.get_num_threads()  # sums over many numbers are split among them
    return facts
