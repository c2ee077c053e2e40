"""dimr-train: train the denoiser of a recipe, resumably, and write it as a bundle."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from torch import nn

from model.autoencoder import LatentCodec
from model.bundle import Bundle, write_bundle
from model.data.errors import DataError
from model.evaluation.monitor import Monitor
from model.sampling.conditions import Wanted
from model.specs.files import read_recipe
from model.specs.recipe import Recipe
from model.training import checkpoint, run
from model.training.arguments import PROGRAM, build_parser, execution_of
from model.training.data import Data, open_data
from model.training.display import Display
from model.training.distributed import ProcessLost, World, joined
from model.training.divergence import Diverged
from model.training.journal import check_sinks, open_journal
from model.training.kernels import PYTORCH, Kernels
from model.training.loop import Hooks, train
from model.training.means import Means, open_means
from model.training.measurement import open_measure
from model.training.objective import Objective
from model.training.previews import Previewer, even_indices, random_indices
from model.training.stacking import read_origin, record_origin, stack_on
from model.training.state import TrainingState, new_state
from model.training.watch import Look, Outlet, Watch


def main(argv: Sequence[str] | None = None, *, kernels: Kernels = PYTORCH) -> int:
    """Entry point, whatever computes the norms; returns the exit status."""
    try:
        arguments = build_parser().parse_args(argv)
        with joined(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")) as world:
            return _run(arguments, world, kernels)
    except (ValueError, OSError, DataError, Diverged, ProcessLost) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted before the first step; nothing was written", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace, world: World, kernels: Kernels) -> int:
    recipe, execution = read_recipe(arguments.recipe), execution_of(arguments, kernels.kind)
    if arguments.steps is not None:
        recipe = _with_steps(recipe, arguments.steps)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    run.check_fits(recipe, execution, world)
    put_kernels = kernels.open(world.device)
    if arguments.resume:
        run.check_same(arguments.out, recipe)
    else:
        run.check_new(arguments.out)
    check_sinks(tensorboard=not arguments.no_tensorboard, wandb_project=arguments.wandb)
    means = open_means(arguments, recipe, world.device)
    measure = open_measure(arguments, recipe, world)
    data = open_data(
        recipe,
        arguments.data,
        world,
        workers=arguments.workers,
        class_index=arguments.class_index,
    )
    now = run.Circumstances(recipe, execution, world, arguments.data, data.count)
    state = new_state(recipe, execution, world, prepare=_prepare(means.below, put_kernels))
    if arguments.resume:
        _continue(arguments.out, now, state, means)
    world.wait()  # nobody writes before everybody has read
    if world.leads:
        _record(arguments, now, means)
    if _train(arguments, now, state, data, means, measure):
        _write_bundle(arguments, recipe, state, data, world, means)
    elif world.leads:
        print(f"stopped at step {state.step}; continue with --resume")
    world.wait()  # one that leaves while others work may be taken for lost
    return 0


def _continue(out: Path, now: run.Circumstances, state: TrainingState, means: Means) -> None:
    """Take a run up where it stopped, and say how that is done otherwise than before."""
    identity = None if means.prompts is None else means.prompts.identity
    unknown = run.check_text(out, identity)
    checkpoint.restore(out, state, now.world)
    run.check_steps(out, now.recipe, state.step)
    if not now.world.leads:
        return
    if unknown is not None:
        print(unknown, file=sys.stderr)
    if change := run.difference(out, now):
        print(f"continued otherwise, so not bit for bit: {change}", file=sys.stderr)


def _record(arguments: argparse.Namespace, now: run.Circumstances, means: Means) -> None:
    """Write what a run is carried out with, and what it was started from."""
    run.record(arguments.out, now)
    if arguments.resume:
        return
    if means.prompts is not None:
        run.record_text(arguments.out, means.prompts.identity)
    if means.below is not None:
        record_origin(arguments.out, means.below)


def _train(
    arguments: argparse.Namespace,
    now: run.Circumstances,
    state: TrainingState,
    data: Data,
    means: Means,
    measure: Monitor | None,
) -> bool:
    """Train with everything that is shown beside it; True when the recipe is complete."""
    recipe, world = now.recipe, now.world
    stopping = _StopRequested()
    with ExitStack() as opened:
        outlet = _outlet(opened, arguments, recipe, state.step) if world.leads else None
        painter = None
        if means.codec is not None:
            codec = means.codec.to(world.device)
            painter = Previewer(state.average, recipe, codec, means.conditions, world)
        watch = _watch(arguments, recipe, means.drawable, painter, outlet, measure)
        keep = checkpoint.Keep(arguments.keep, arguments.keep_every)
        hooks = Hooks(
            report=watch.report,
            save=lambda: checkpoint.save(arguments.out, state, world, keep=keep),
            position=lambda: data.position,
            after_step=watch.after_step,
            stopping=stopping,
            save_every_s=arguments.checkpoint_every,
            save_every=arguments.keep_every,
        )
        examples = opened.enter_context(closing(data.examples(state.step, state.position)))
        objective = Objective(recipe, means.conditions)
        done = train(objective, now.execution, world, state, examples, hooks)
    _count_left_out(data, world)
    return done


def _outlet(opened: ExitStack, arguments: argparse.Namespace, recipe: Recipe, step: int) -> Outlet:
    journal = open_journal(
        arguments.out,
        step,
        tensorboard=not arguments.no_tensorboard,
        wandb_project=arguments.wandb,
        config=recipe.model_dump(mode="json"),
    )
    spec = recipe.training
    steps = f"steps {step} to {spec.steps} of {spec.batch} examples"
    print(f"{recipe.id}: {steps}; run in {arguments.out}", file=sys.stderr)
    display = Display(steps=spec.steps, start=step, batch=spec.batch)
    return Outlet(arguments.out, opened.enter_context(journal), opened.enter_context(display))


def _watch(
    arguments: argparse.Namespace,
    recipe: Recipe,
    drawable: Sequence[Wanted],
    painter: Previewer | None,
    outlet: Outlet | None,
    measure: Monitor | None,
) -> Watch:
    """What is looked at while training; nothing is painted unless it was asked for."""
    grid = measured = None
    if arguments.samples_every is not None:
        chosen = even_indices(len(drawable), arguments.sample_classes)
        wanted = tuple(drawable[index] for index in chosen)
        grid = Look(arguments.samples_every, wanted, chosen, recipe.sampling)
    if arguments.measure_every is not None:
        chosen = random_indices(recipe, len(drawable), arguments.measure_samples)
        wanted = tuple(drawable[index] for index in chosen)
        options = {"steps": arguments.measure_steps, "guidance": arguments.measure_guidance}
        sampling = recipe.sampling.model_copy(update=options)
        measured = Look(arguments.measure_every, wanted, chosen, sampling)
    return Watch(painter, grid, measured, measure, outlet)


def _prepare(
    below: Bundle | None, put_kernels: Callable[[nn.Module], object]
) -> Callable[[nn.Module], None]:
    """What puts weights, and kernels, into a fresh network."""

    def prepare(network: nn.Module) -> None:
        if below is not None:
            stack_on(network, below)
        put_kernels(network)

    return prepare


def _count_left_out(data: Data, world: World) -> None:
    met = world.gathered(sorted(data.left_out))
    count = len({where for names in met if isinstance(names, list) for where in names})
    if world.leads and count:
        print(f"examples left out: {count}; each is named above", file=sys.stderr)


def _write_bundle(
    arguments: argparse.Namespace,
    recipe: Recipe,
    state: TrainingState,
    data: Data,
    world: World,
    means: Means,
) -> None:
    average = state.whole_average(recipe)
    if not world.leads:
        return
    bundle = write_bundle(
        arguments.out / "bundle",
        recipe,
        average,
        data.classes,
        aliases=data.aliases,
        steps=state.step,
        autoencoder=means.codec if isinstance(means.codec, LatentCodec) else None,
        prompts=means.prompts,
        stacked_on=read_origin(arguments.out),
    )
    print(f"trained {recipe.id} for {state.step} steps; bundle in {bundle}")


def _with_steps(recipe: Recipe, steps: int) -> Recipe:
    training = recipe.training.model_copy(update={"steps": steps})
    return recipe.model_copy(update={"training": training})


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


if __name__ == "__main__":
    sys.exit(main())
