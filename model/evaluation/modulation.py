"""How AdaLN-Zero's scales and shifts move with diffusion time, and in how many directions.

DiMR (arXiv:2406.09416), figure 3: the parameters that a heavy AdaLN-Zero produces for each time are
explained by a few principal components, so that far fewer suffice, which TD-LN has.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from model.bundle import Bundle
from model.evaluation.display import Show
from model.evaluation.errors import EvaluationImpossible
from model.layers.adaln import AdaLNZero, Modulation
from model.specs.base import Spec

COMPONENTS = 10  # reported of each parameter
SHARES = (0.9, 0.95, 0.99)
BATCH = 10  # times given to the network at once


class Trajectory(NamedTuple):
    """One parameter of one block at T times: values (T, D), times in rising order."""

    block: str
    parameter: str
    values: Tensor


class Explained(Spec):
    """One parameter of one block."""

    block: str = Field(description="name of the module in the network")
    parameter: str = Field(description="scale or shift, of the first or the second branch")
    variance: float = Field(description="over the times, summed over the channels")
    ratios: tuple[float, ...] = Field(description="share of each principal component, falling")


class Summary(Spec):
    """All parameters of all blocks that move at all."""

    parameters: int
    mean_cumulative: tuple[float, ...] = Field(description="share of the first 1, 2, ... of them")
    least_cumulative: tuple[float, ...] = Field(description="of the parameter that needs most")
    components_needed: dict[str, int | None] = Field(
        description="by share: how many explain it in every parameter; null: more than reported"
    )


class ModulationReport(Spec):
    """The JSON report of `dimr-evaluate adaln`."""

    format_version: Literal[1] = 1
    bundle_id: str
    denoiser_sha256: str
    date: str = Field(description="UTC, ISO 8601")
    command: str
    times: int
    t_min: float
    t_max: float
    label: int = Field(description="class index; the number of classes for none")
    summary: Summary
    parameters: tuple[Explained, ...]


@torch.no_grad()
def trajectories(bundle: Bundle, *, times: int, label: int, show: Show) -> list[Trajectory]:
    """Scales and shifts of every block at times spread evenly over those trained on.

    Args:
        bundle: a network with AdaLN-Zero.
        times: T, at least 3.
        label: class index; the number of classes for none.
        show: told of the progress.

    Raises:
        EvaluationImpossible: the network has no AdaLN-Zero.
    """
    spec, process = bundle.manifest.network, bundle.manifest.process
    sources = {n: m for n, m in bundle.network.named_modules() if isinstance(m, AdaLNZero)}
    if not sources:
        msg = (
            f"bundle {bundle.manifest.id} has no AdaLN-Zero: its network is {spec.kind!r} and "
            f"learns time otherwise; allowed: 'dit', or 'uvit' or 'dimr' with time = 'adaln-zero'"
        )
        raise EvaluationImpossible(msg)
    found: dict[str, list[tuple[Modulation, Modulation]]] = {name: [] for name in sources}
    hooks = [_record(module, found[name]) for name, module in sources.items()]
    try:
        t = torch.linspace(process.t_min, process.t_max, times)
        for done in range(0, times, BATCH):
            show("times", done, times)
            part = t[done : done + BATCH]
            x = torch.zeros(len(part), spec.channels, spec.size, spec.size)
            bundle.network(x, part, torch.full((len(part),), label))
        show("times", times, times)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        Trajectory(name, f"{kind} {branch}", torch.cat(values))
        for name, made in found.items()
        for branch, modulations in enumerate(zip(*made, strict=True), 1)
        for kind, values in (
            ("scale", [m.scale for m in modulations]),
            ("shift", [m.shift for m in modulations]),
        )
    ]


def explained(trajectory: Trajectory) -> Explained:
    """Principal components of a parameter over time, each time one observation."""
    values = trajectory.values.double()
    strengths = torch.linalg.svdvals(values - values.mean(dim=0)).square()
    total = strengths.sum()
    ratios = strengths[:COMPONENTS] / total if total > 0 else torch.zeros(0)
    return Explained(
        block=trajectory.block,
        parameter=trajectory.parameter,
        variance=float(total / len(values)),
        ratios=tuple(ratios.tolist()),
    )


def cumulative(parameters: Sequence[Explained]) -> Tensor:
    """Share of the first 1, 2, ... components of each parameter that moves: (P, K) float64.

    Raises:
        EvaluationImpossible: none moves.
    """
    moving = [torch.tensor(p.ratios, dtype=torch.float64) for p in parameters if p.ratios]
    if not moving:
        msg = "no scale or shift changes with time; allowed: a bundle that has been trained"
        raise EvaluationImpossible(msg)
    width = min(map(len, moving))  # few channels have few components
    return torch.stack([ratios[:width] for ratios in moving]).cumsum(dim=1)


def summary(parameters: Sequence[Explained]) -> Summary:
    """How many components suffice; raises what `cumulative` raises."""
    shares = cumulative(parameters)
    least = shares.amin(dim=0)
    return Summary(
        parameters=len(shares),
        mean_cumulative=tuple(shares.mean(dim=0).tolist()),
        least_cumulative=tuple(least.tolist()),
        components_needed={f"{share:.0%}": _needed(least, share) for share in SHARES},
    )


def _needed(least: Tensor, share: float) -> int | None:
    enough = (least >= share).nonzero()
    return int(enough[0]) + 1 if len(enough) else None


def _record(
    module: nn.Module, into: list[tuple[Modulation, Modulation]]
) -> torch.utils.hooks.RemovableHandle:
    return module.register_forward_hook(lambda _, given, made: into.append(made))
