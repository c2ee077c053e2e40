"""One row of a study: trained from scratch like every other, then measured like every other."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from model.autoencoder import PixelCodec
from model.denoisers.counting import count_network
from model.diffusion.build import build_schedule
from model.evaluation.monitor import ACCURACY, SMALL_FRECHET, SmallMonitor
from model.files import write_whole
from model.specs.process import PixelsSpec
from model.specs.recipe import Recipe
from model.specs.training import ExecutionSpec
from model.study.results import Result, recipe_sha256
from model.study.rows import Row
from model.training import checkpoint, run
from model.training.data import InMemory, LabelledTensors
from model.training.distributed import World
from model.training.journal import JsonLines
from model.training.loop import Hooks, Report, train
from model.training.objective import draw_batch, losses
from model.training.previews import Previewer, write_grid
from model.training.state import TrainingState, new_state

ALONE = World(0, 1, torch.device("cpu"))
SAVE_EVERY_S = 120.0
_PROBES = 8  # times that the loss looks at each image
_PROBE_SEED = 20_240_612  # of the noise and times of the loss, the same for every row


@dataclass(frozen=True, slots=True)
class Bench:
    """What all rows share: data, judge, and how many samples of each class it looks at."""

    data: LabelledTensors
    judge: SmallMonitor
    samples_per_class: int


def run_row(
    row: Row, recipe: Recipe, bench: Bench, folder: Path, show: Callable[[Report], None]
) -> Result:
    """Train and measure one row, or continue with it where an earlier call was stopped.

    Args:
        row: which.
        recipe: its recipe.
        bench: what it shares with the others.
        folder: of its checkpoints, log and samples.
        show: told of the training's progress.
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

    def report(found: Report) -> None:
        journal.numbers(found.step, found.numbers())
        show(found)

    def save() -> None:
        checkpoint.save(folder, state, ALONE, keep=checkpoint.Keep(newest=1))
        spent.save()

    hooks = Hooks(
        report=report,
        save=save,
        position=lambda: None,
        after_step=lambda step: None,
        stopping=lambda: False,
        save_every_s=SAVE_EVERY_S,
    )
    data = InMemory(bench.data, recipe, ALONE)
    train(recipe, ExecutionSpec(), ALONE, state, data.examples(state.step, None), hooks)
    return _measured(row, recipe, bench, folder, state, spent.seconds)


def _measured(
    row: Row, recipe: Recipe, bench: Bench, folder: Path, state: TrainingState, seconds: float
) -> Result:
    assert isinstance(recipe.process.codec, PixelsSpec)
    state.average.eval()
    classes = recipe.network.classes
    labels = [k for k in range(classes) for _ in range(bench.samples_per_class)]
    painter = Previewer(state.average, recipe, PixelCodec(recipe.process.codec), ALONE)
    images = painter.paint(labels, recipe.sampling)
    first = slice(None, None, bench.samples_per_class)
    write_grid(folder, state.step, images[first], labels[first], recipe.id)
    figures = bench.judge(images, torch.tensor(labels).numpy())
    count = count_network(recipe.network)
    return Result(
        row=row.name,
        recipe_sha256=recipe_sha256(recipe),
        meaning=row.meaning,
        table=row.table,
        parameters=count.parameters,
        macs=count.macs,
        images_seen=state.step * recipe.training.batch,
        train_seconds=round(seconds, 1),
        loss=denoising_loss(state.average, recipe, bench.data),
        samples=len(labels),
        class_accuracy=figures[ACCURACY],
        small_feature_frechet=figures[SMALL_FRECHET],
    )


@torch.no_grad()
def denoising_loss(network: nn.Module, recipe: Recipe, data: LabelledTensors) -> float:
    """Error of the highest branch on every image at the same times and noise for every network."""
    fixed = recipe.training.model_copy(
        update={"seed": _PROBE_SEED, "class_dropout": 0.0, "batch": len(data)}
    )
    probed = recipe.model_copy(update={"training": fixed})
    schedule = build_schedule(recipe.process.schedule)
    whole = slice(0, len(data))
    found = []
    for probe in range(_PROBES):
        batch = draw_batch(probed, probe, data.x, data.labels, whole)
        found.append(losses(network, batch, schedule, recipe.process, fixed.loss)[-1])
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
