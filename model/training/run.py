"""A run folder: what it was started with, and whether it may be continued as asked."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from model.files import write_whole
from model.specs.data import CaptionedEmojiData, DataSpec, EmojiData, OnBad
from model.specs.files import RecipeRefused, read_recipe
from model.specs.recipe import Recipe
from model.specs.text import TextEncoderIdentity
from model.specs.training import ExecutionSpec, NormKernels
from model.training import checkpoint
from model.training.checkpoint import ResumeRefused
from model.training.distributed import World

TEXT_ENCODER = "text-encoder.json"


class RunUnwritable(ValueError):
    """A run has no place to be written to."""


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
    if execution.compile and execution.kernels is not NormKernels.PYTORCH:
        msg = (
            f"--compile: got it with kernels of {execution.kernels.value}; allowed: one of the two"
        )
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
        ResumeRefused: names what differs; or the recipe of the run is none of this version.
    """
    path = run / "recipe.json"
    if not path.is_file():
        return  # no run at all, which `restore` refuses
    try:
        started = read_recipe(str(path))
    except RecipeRefused as error:
        msg = (
            f"--resume: {error}; allowed: a run of this version of dimr-train "
            f"(start it anew in another folder)"
        )
        raise ResumeRefused(msg) from error
    same: list[tuple[str, object, object]] = [
        (part, getattr(started, part), getattr(recipe, part))
        for part in ("network", "process", "text")
    ]
    same.append(("data", _order(started.data), _order(recipe.data)))
    same += [
        (f"training.{part}", getattr(started.training, part), getattr(recipe.training, part))
        for part in (
            "seed",
            "batch",
            "condition_dropout",
            "loss",
            "measured",
            "scale_weights",
            "crop",
            "times",
        )
    ]
    for part, before, now in same:
        if before != now:
            msg = f"--resume: {run} was started with another {part}; allowed: {path}"
            raise ResumeRefused(msg)


def check_text(run: Path, now: TextEncoderIdentity | None) -> str | None:
    """Refuse to resume with another text encoder, whose states mean other things.

    A name or a path does not tell: what lies there may have been changed.

    Returns:
        What to say where the run does not tell which encoder it was started with; None otherwise.

    Raises:
        ResumeRefused: names both encoders.
    """
    if now is None:
        return None
    path = run / TEXT_ENCODER
    if not path.is_file():
        return f"{run} has no {TEXT_ENCODER}: whether its text encoder was this one is not known"
    try:
        before = TextEncoderIdentity.model_validate_json(path.read_bytes())
    except ValidationError as error:
        msg = f"--resume: {path} is damaged; allowed: as the run was started with"
        raise ResumeRefused(msg) from error
    if before.sha256 != now.sha256:
        msg = (
            f"--resume: the text encoder: got sha256 {now.sha256[:12]}...; "
            f"allowed: {before.sha256[:12]}..., by {path}, as states of another mean other things"
        )
        raise ResumeRefused(msg)
    return None


def record_text(run: Path, text: TextEncoderIdentity) -> None:
    """Write which text encoder a run is started with; it stays the same to the end."""
    write_whole(run / TEXT_ENCODER, (text.model_dump_json() + "\n").encode())


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


def _order(data: DataSpec) -> DataSpec:
    """What of the data decides which example is which; a policy on bad ones may change."""
    if isinstance(data, EmojiData | CaptionedEmojiData):
        return data
    return data.model_copy(update={"on_bad": OnBad.STOP})


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a run is carried out with: equal ones give equal weights, bit for bit."""

    recipe: Recipe
    execution: ExecutionSpec
    world: World
    data: str  # where they are
    examples: int | None  # how many there are, None in a stream


def difference(run: Path, now: Circumstances) -> str | None:
    """How this continuation is carried out otherwise than before, None where it is the same."""
    path = run / "execution.json"
    if not path.is_file():
        return None
    usual = ExecutionSpec().model_dump(mode="json")  # of what is newer than the run
    before, facts = usual | json.loads(path.read_text("utf-8")), _described(now)
    changed = [name for name in facts if before.get(name) != facts[name]]
    return ", ".join(f"{name} was {before.get(name)}, is {facts[name]}" for name in changed) or None


def record(run: Path, now: Circumstances) -> None:
    """Write what the run is started or continued with.

    Raises:
        RunUnwritable: the folder cannot be made or written to.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_whole(run / "recipe.json", now.recipe.model_dump_json(indent=2).encode())
        write_whole(run / "execution.json", (json.dumps(_described(now)) + "\n").encode())
    except OSError as error:
        msg = f"--out: {run} cannot be written to ({error.strerror}); allowed: a writable folder"
        raise RunUnwritable(msg) from error


def _described(now: Circumstances) -> dict[str, object]:
    world, training = now.world, now.recipe.training
    facts: dict[str, object] = now.execution.model_dump(mode="json")
    facts |= {"processes": world.size, "device": world.device.type}
    facts |= {"data": now.data, "examples": now.examples, "steps": training.steps}
    facts |= training.optimiser.model_dump(mode="json")
    if world.device.type == "cpu":
        facts["threads"] = torch.get_num_threads()  # sums over many numbers are split among them
    return facts
