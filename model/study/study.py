"""One row of a study: trained from scratch like every other, then measured like every other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.autoencoder import PixelCodec
from model.denoisers.counting import count_network
from model.diffusion.build import build_pyramid
from model.evaluation.display import Show
from model.evaluation.monitor import ACCURACY, SMALL_FRECHET
from model.files import write_whole
from model.sampling.conditions import Conditions, Wanted
from model.sampling.consistency import ConsistencyMonitor
from model.sampling.loop import OnScales
from model.sampling.painter import Painter
from model.sampling.samplers import tables_for
from model.specs.process import PixelsSpec
from model.specs.recipe import Recipe
from model.specs.training import ExecutionSpec
from model.study.bench import Bench, sizes_of
from model.study.results import Result, ScaleResult, recipe_sha256
from model.study.rows import Row
from model.training import checkpoint, run
from model.training.data import InMemory
from model.training.distributed import World
from model.training.journal import JsonLines
from model.training.loop import Hooks, Report, train
from model.training.objective import Objective
from model.training.previews import write_grid
from model.training.state import new_state

ALONE = World(0, 1, torch.device("cpu"))
SAVE_EVERY_S = 120.0
BATCH = 32  # samples computed together
_PROBES = 8  # times that the loss looks at each image
_PROBE_SEED = 20_240_612  # of the noise and times of the loss, the same for every row


@dataclass(frozen=True, slots=True)
class Trained:
    """A row after its last step, and the seconds that its training took over all calls."""

    network: nn.Module
    images_seen: int
    seconds: float


def train_row(
    recipe: Recipe, bench: Bench, folder: Path, report: Callable[[Report], None]
) -> Trained:
    """Train one row, or continue with it where an earlier call was stopped.

    Args:
        recipe: its recipe.
        bench: what it shares with the others.
        folder: of its checkpoints and log.
        report: told of the progress.
    """
    state = new_state(recipe, ExecutionSpec(), ALONE)
    if checkpoint.newest(folder) is not None:
        run.check_same(folder, recipe)
        checkpoint.restore(folder, state, ALONE)
        run.check_steps(folder, recipe, state.step)
    here = run.Circumstances(recipe, ExecutionSpec(), ALONE, recipe.data.kind, len(bench.data))
    run.record(folder, here)
    journal = JsonLines(folder, state.step)
    spent = _Spent(folder / "seconds")

    def write(found: Report) -> None:
        journal.numbers(found.step, found.numbers())
        report(found)

    def save() -> None:
        checkpoint.save(folder, state, ALONE, keep=checkpoint.Keep(newest=1))
        spent.save()

    hooks = Hooks(
        report=write,
        save=save,
        position=lambda: None,
        after_step=lambda step: None,
        stopping=lambda: False,
        save_every_s=SAVE_EVERY_S,
    )
    data = InMemory(bench.data, recipe, ALONE)
    objective = Objective(recipe, bench.conditions)
    train(objective, ExecutionSpec(), ALONE, state, data.examples(state.step, None), hooks)
    seen = state.step * recipe.training.batch
    return Trained(state.average.eval(), seen, spent.seconds)


def measure_row(
    row: Row, recipe: Recipe, bench: Bench, folder: Path, trained: Trained, show: Show
) -> Result:
    """Draw samples of a trained row at each of its sizes, and have them judged.

    Args:
        row: which.
        recipe: its recipe.
        bench: what it shares with the others.
        folder: where a grid of samples goes.
        trained: its network.
        show: told of the progress.
    """
    network = trained.network
    labels = np.repeat(np.arange(len(bench.drawable)), bench.samples_per_class)
    wanted = [bench.drawable[label] for label in labels]
    found = []
    for side in sizes_of(recipe):
        gaps = ConsistencyMonitor(build_pyramid(recipe.process, recipe.network.sides))
        images = _painted(network, recipe, bench.conditions, wanted, side, on_step=gaps, show=show)
        judge = bench.judges[side]
        figures = judge.monitor(images, labels)
        found.append(
            ScaleResult(
                side=side,
                judge_sha256=judge.sha256,
                class_accuracy=figures[ACCURACY],
                small_feature_frechet=figures[SMALL_FRECHET],
            )
        )
    first = slice(None, None, bench.samples_per_class)
    write_grid(folder, recipe.training.steps, images[first], wanted[first], recipe.id)
    *lower, top = found
    count = count_network(recipe.network)
    return Result(
        row=row.name,
        recipe_sha256=recipe_sha256(recipe),
        meaning=row.meaning,
        table=row.table,
        parameters=count.parameters,
        macs=count.macs,
        images_seen=trained.images_seen,
        train_seconds=round(trained.seconds, 1),
        loss=denoising_loss(network, recipe, bench),
        samples=len(labels),
        class_accuracy=top.class_accuracy,
        small_feature_frechet=top.small_feature_frechet,
        lower=tuple(lower),
        disagreement=tuple(gaps.means[-1].tolist()),
    )


def _painted(
    network: nn.Module,
    recipe: Recipe,
    conditions: Conditions,
    wanted: Sequence[Wanted],
    side: int,
    *,
    on_step: OnScales,
    show: Show,
) -> NDArray[np.uint8]:
    """Samples (N, side, side, 3) of what is wanted, sample k from seed k."""
    assert isinstance(recipe.process.codec, PixelsSpec)
    sampling, codec = recipe.sampling, PixelCodec(recipe.process.codec)
    painter = Painter(network, recipe.network, recipe.process, codec, conditions)
    tables = tables_for(
        recipe.process,
        recipe.network.sides,
        sampling,
    )
    parts = []
    for start in range(0, len(wanted), BATCH):
        seeds = range(start, min(start + BATCH, len(wanted)))
        chosen = [wanted[k] for k in seeds]
        parts.append(painter.paint(tables, chosen, seeds, size=side, on_step=on_step))
        show(f"samples of {side} pixels", seeds.stop, len(wanted))
    return np.concatenate(parts)


@torch.no_grad()
def denoising_loss(network: nn.Module, recipe: Recipe, bench: Bench) -> float:
    """Error of the highest branch on every image at the same times and noise for every network."""
    fixed = recipe.training.model_copy(
        update={"seed": _PROBE_SEED, "condition_dropout": 0.0, "batch": len(bench.data)}
    )
    probed = Objective(recipe.model_copy(update={"training": fixed}), bench.conditions)
    whole = slice(0, len(bench.data))
    found = []
    for probe in range(_PROBES):
        batch = probed.draw(probe, bench.data.x, bench.shown, whole)
        found.append(probed.losses(network, batch)[-1])
    return torch.stack(found).mean().item()


class _Spent:
    """Seconds of training over all calls, kept beside the checkpoints."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = float(path.read_text()) if path.is_file() else 0.0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def save(self) -> None:
        write_whole(self._path, f"{self.seconds:.3f}".encode())
