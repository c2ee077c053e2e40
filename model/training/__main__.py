"""dimr-train: train the denoiser of a recipe, resumably, and write it as a bundle."""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from model.bundle import write_bundle
from model.data.errors import DataError
from model.sampling.arguments import MAX_THREADS, Parser, integer, number
from model.specs.recipe import Recipe
from model.training import checkpoint
from model.training.data import load_examples
from model.training.loop import LossDiverged, Progress, new_state, train

RECIPES = files("model") / "recipes"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    try:
        return _run(_parser().parse_args(argv))
    except (ValueError, OSError, DataError, LossDiverged) as error:
        print(f"dimr-train: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    names = sorted(p.name.removesuffix(".json") for p in RECIPES.iterdir())
    parser = Parser(
        prog="dimr-train",
        description="Train the denoiser of a recipe and write RUN/bundle, ready to be served",
        epilog="Example: dimr-train emoji-32 --data deploy/data/emoji --out runs/emoji-32. "
        "Ctrl-C or SIGTERM saves a checkpoint and stops; the same command with --resume continues "
        "bit for bit.",
    )
    parser.add_argument("recipe", help=f"a named recipe ({', '.join(names)}) or a JSON file")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")
    parser.add_argument(
        "--steps", type=integer(1, 10**9), metavar="N", help="steps in place of the recipe's"
    )
    parser.add_argument(
        "--threads", type=integer(1, MAX_THREADS), metavar="N", help="CPU threads (default: all)"
    )
    parser.add_argument(
        "--checkpoint-every",
        type=number(0.01, 86_400),
        default=300.0,
        metavar="S",
        help="seconds between checkpoints (default: 300)",
    )
    return parser


def read_recipe(name: str) -> Recipe:
    """Load a recipe by name or path.

    Raises:
        ValueError: it does not exist or does not validate; says which field is wrong.
    """
    named = RECIPES / f"{name}.json"
    source = named if named.is_file() else Path(name)
    if not source.is_file():
        known = sorted(p.name.removesuffix(".json") for p in RECIPES.iterdir())
        msg = f"recipe: got {name!r}; allowed: one of {', '.join(known)}, or a JSON file"
        raise ValueError(msg)
    try:
        return Recipe.model_validate_json(source.read_text("utf-8"))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}"
            for e in error.errors()
        )
        msg = f"recipe {name}: {faults}"
        raise ValueError(msg) from error


def _run(arguments: argparse.Namespace) -> int:
    recipe = read_recipe(arguments.recipe)
    if arguments.steps is not None:
        recipe = _with_steps(recipe, arguments.steps)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    run: Path = arguments.out
    data = load_examples(recipe, arguments.data)
    state = new_state(recipe)
    if arguments.resume:
        _check_same_run(run, recipe)
        checkpoint.restore(run, state)
        if state.step > recipe.training.steps:
            msg = (
                f"--steps: got {recipe.training.steps}; allowed: at least {state.step}, "
                f"the step of the newest checkpoint in {run}"
            )
            raise ValueError(msg)
    elif checkpoint.newest(run) is not None:
        msg = (
            f"--out: {run} already holds a run; add --resume to continue it, or name another folder"
        )
        raise ValueError(msg)
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_text(recipe.model_dump_json(indent=2), "utf-8")
    stop = _StopRequested()
    with _Display(recipe.training.steps, state.step) as display:
        done = train(
            recipe,
            data,
            run,
            state,
            checkpoint_every_s=arguments.checkpoint_every,
            report=display.show,
            stopping=stop,
        )
    if not done:
        print(f"stopped at step {state.step}; continue with --resume")
        return 0
    bundle = write_bundle(
        run / "bundle",
        recipe,
        state.average,
        data.classes,
        aliases=data.aliases,
        steps=state.step,
    )
    print(f"trained {recipe.id} for {state.step} steps; bundle in {bundle}")
    return 0


def _with_steps(recipe: Recipe, steps: int) -> Recipe:
    training = recipe.training.model_copy(update={"steps": steps})
    return recipe.model_copy(update={"training": training})


def _check_same_run(run: Path, recipe: Recipe) -> None:
    """Refuse to continue a run whose weights or order of data would no longer fit the recipe."""
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
        for part in ("seed", "batch", "class_dropout")
    ]
    for part, before, now in same:
        if before != now:
            msg = f"--resume: {run} was started with another {part}; allowed: {path}"
            raise checkpoint.ResumeRefused(msg)


class _StopRequested:
    """True once SIGTERM or SIGINT has come; a second one kills as usual."""

    def __init__(self) -> None:
        self._asked = False
        for wanted in (signal.SIGTERM, signal.SIGINT):
            signal.signal(wanted, self._ask)

    def _ask(self, received: int, frame: object) -> None:
        self._asked = True
        signal.signal(received, signal.SIG_DFL)

    def __call__(self) -> bool:
        return self._asked


class _Display:
    """A live bar with loss, pace and time left."""

    def __init__(self, steps: int, start: int) -> None:
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[pace]:.0f} images/s"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("", total=steps, completed=start, loss=0.0, pace=0.0)

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Update the bar."""
        self._bar.update(
            self._task, completed=progress.step, loss=progress.loss, pace=progress.images_per_s
        )


if __name__ == "__main__":
    sys.exit(main())
