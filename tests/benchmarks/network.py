"""Our networks against the naive form of the same: time of a forward pass, images/s of training.

Both have the same weights and are refused where their predictions differ. Both train in the loop of
dimr-train, so that only the network differs. On a CPU the variants of the paper are `reduced`, on
CUDA all networks are whole.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from model.denoisers.family import VARIANTS
from model.sampling.conditions import conditions_for
from model.specs.files import read_recipe
from model.specs.networks import DiMRSpec
from model.specs.recipe import Recipe
from model.specs.training import ExecutionSpec, Precision
from model.training.distributed import World
from model.training.loop import Hooks, train
from model.training.objective import Objective
from model.training.optimiser import build_optimiser
from model.training.precision import Arithmetic
from model.training.state import TrainingState, new_state
from tests.benchmarks.naive import NaiveDiMR
from tests.benchmarks.timing import Comparison, compare

SHIPPED = "emoji-32"
NETWORKS = (SHIPPED, *VARIANTS)
TOLERANCE = 1e-5  # of predictions in float32, relative to the largest of them
REDUCTION = (
    "the variants have their real widths, heads, grids and classes, but a stage of n blocks has "
    "max(3, 2 * (n // 10) + 1) of them"
)


class Disagreement(RuntimeError):
    """The two networks that are to be compared do not compute the same."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and where; without a batch, each network has its default."""

    device: torch.device
    networks: Sequence[str]
    precisions: Sequence[Precision]
    batch: int | None
    rounds: int
    compile: bool

    @property
    def whole(self) -> bool:
        """Whether the variants have all their blocks."""
        return self.device.type != "cpu"


@dataclass(frozen=True, slots=True)
class Result:
    """One network in one precision; nothing is compared where memory did not suffice."""

    name: str
    precision: Precision
    recipe: Recipe  # with the blocks and the batch that were measured
    difference: float = 0.0
    forward: Comparison | None = None
    training: Comparison | None = None

    @property
    def blocks(self) -> list[int]:
        """Of each stage."""
        return [stage.blocks for stage in _spec(self.recipe).stages]

    def record(self) -> dict[str, object]:
        """For JSON."""
        described: dict[str, object] = {
            "network": self.name,
            "precision": self.precision.value,
            "blocks": self.blocks,
            "batch": self.recipe.training.batch,
        }
        if self.forward is None or self.training is None:
            return described | {"failed": "out of the device's memory"}
        return described | {
            "largest_difference": self.difference,
            "forward": self.forward.record(),
            "training": self.training.record(),
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """Both networks, with the same weights, ready to be trained."""

    ours: TrainingState
    naive: TrainingState


def measure(plan: Plan) -> dict[str, object]:
    """Measure what a plan says, print a table, and return what belongs into the JSON.

    Raises:
        Disagreement: a network differs from its naive form.
    """
    cases = list(itertools.product(plan.networks, plan.precisions))
    console = Console(stderr=True)
    results = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=2 * plan.rounds * len(cases))
        for name, precision in cases:
            progress.update(task, description=f"{name} {precision.value}")
            results.append(_result(plan, name, precision, partial(progress.advance, task)))
    Console().print(*_tables(results))
    cuda = plan.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(plan.device) if cuda else "cpu",
        "rounds": plan.rounds,
        "ours_compiled": plan.compile,
        "reduction": None if plan.whole else REDUCTION,
        "ratios": "naive / ours in time: above 1, ours is faster",
        "cases": [result.record() for result in results],
    }


def reduced(spec: DiMRSpec) -> DiMRSpec:
    """A network of the same widths and grids whose blocks a CPU gets through in seconds."""
    stages = [
        stage.model_copy(update={"blocks": max(3, 2 * (stage.blocks // 10) + 1)})
        for stage in spec.stages
    ]
    return spec.model_copy(update={"stages": tuple(stages)})


def _spec(recipe: Recipe) -> DiMRSpec:
    assert isinstance(recipe.network, DiMRSpec)
    return recipe.network


def _recipe(plan: Plan, name: str) -> Recipe:
    """The named recipe with the blocks and the batch that are measured."""
    recipe = read_recipe(name)
    network, batch = _spec(recipe), recipe.training.batch
    if name != SHIPPED:
        network, batch = (network, 16) if plan.whole else (reduced(network), 1)
    training = recipe.training.model_copy(update={"batch": plan.batch or batch})
    return recipe.model_copy(update={"network": network, "training": training})


def _result(plan: Plan, name: str, precision: Precision, advance: Callable[[], object]) -> Result:
    recipe = _recipe(plan, name)
    images = recipe.training.batch
    between = partial(
        compare, images=images, device=plan.device, rounds=plan.rounds, after_round=advance
    )
    try:
        pair = _pair(recipe, precision, plan)
        x, t, y = (v.to(plan.device) for v in _inputs(_spec(recipe), images))
        difference = _difference(name, pair, (x, t, y))
        forward = between(*(partial(_forward, s, x, t, y) for s in (pair.ours, pair.naive)))
        step = _step(recipe, precision, plan.device, (x.cpu(), y.cpu()))
        training = between(partial(step, pair.ours), partial(step, pair.naive))
    except torch.OutOfMemoryError:
        return Result(name, precision, recipe)
    return Result(name, precision, recipe, difference, forward, training)


def _pair(recipe: Recipe, precision: Precision, plan: Plan) -> Pair:
    """Both networks, with weights none of which is where it starts."""
    execution = ExecutionSpec(precision=precision, compile=plan.compile)
    ours = new_state(recipe, execution, World(0, 1, plan.device))
    generator = torch.Generator(plan.device).manual_seed(1)
    with torch.no_grad():
        for parameter in ours.network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, device=plan.device)
            parameter.add_(noise, alpha=0.01)
    naive = NaiveDiMR(_spec(recipe)).to(plan.device)
    naive.load_state_dict(ours.network.state_dict())
    other = TrainingState(
        network=naive,
        replica=naive,
        average=copy.deepcopy(naive).requires_grad_(requires_grad=False),
        optimiser=build_optimiser(naive, recipe.training.optimiser),
        arithmetic=Arithmetic(precision, plan.device),
    )
    return Pair(ours, other)


def _inputs(spec: DiMRSpec, images: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random x (B, C, S, S), t (B,) and y (B,)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, spec.channels, spec.size, spec.size, generator=generator)
    t = torch.rand(images, generator=generator)
    return x, t, torch.randint(spec.classes, (images,), generator=generator)


def _difference(name: str, pair: Pair, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """The largest of any prediction in float32, relative to the largest prediction."""
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # CUDA's convolutions round
    with torch.no_grad(), exact:
        ours, naive = (state.network(*inputs) for state in (pair.ours, pair.naive))
    found = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, naive, strict=True)
    )
    if not found <= TOLERANCE:
        msg = f"{name}: predictions differ by {found:.1e} of their size; allowed: {TOLERANCE:.0e}"
        raise Disagreement(msg)
    return found


def _forward(state: TrainingState, x: Tensor, t: Tensor, y: Tensor) -> None:
    with torch.no_grad(), state.arithmetic.forward():
        state.network(x, t, y)


def _step(
    recipe: Recipe, precision: Precision, device: torch.device, example: tuple[Tensor, Tensor]
) -> Callable[[TrainingState], None]:
    """One step of dimr-train: noise, forward, backward, AdamW, average."""
    execution, world = ExecutionSpec(precision=precision), World(0, 1, device)
    objective = Objective(recipe, conditions_for(recipe.network, None))

    def take(state: TrainingState) -> None:
        last = state.step + 1
        hooks = Hooks(
            report=lambda _: None,
            save=lambda: None,
            position=lambda: None,
            after_step=lambda _: None,
            stopping=lambda: state.step >= last,
            save_every_s=float("inf"),
        )
        train(objective, execution, world, state, itertools.repeat(example), hooks)
        state.optimiser.zero_grad(set_to_none=True)

    return take


def _tables(results: Sequence[Result]) -> tuple[Table, Table]:
    forward, training = _table("forward, ms"), _table("training, images/s")
    for result in results:
        case = [
            f"{result.name} {result.precision.value}",
            "/".join(map(str, result.blocks)),
            str(result.recipe.training.batch),
        ]
        if result.forward is None or result.training is None:
            forward.add_row(*case, "out of memory")
            continue
        sides = (result.forward.ours, result.forward.naive)
        figures = [f"{side.median * 1e3:.1f}" for side in sides]
        forward.add_row(*case, *figures, *_ratios(result.forward))
        sides = (result.training.ours, result.training.naive)
        figures = [f"{result.training.images / side.median:.2f}" for side in sides]
        training.add_row(*case, *figures, *_ratios(result.training))
    return forward, training


def _ratios(comparison: Comparison) -> list[str]:
    return [f"{comparison.ratio:.2f}", f"{comparison.processor_ratio:.2f}"]


def _table(title: str) -> Table:
    table = Table("network", "blocks", "batch", title=title)
    for column in ("ours", "naive", "ratio", "of CPU time"):
        table.add_column(column, justify="right")
    return table
