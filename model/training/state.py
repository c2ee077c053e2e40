"""Everything that changes while training."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from model.denoisers.build import blank_inputs, blocks_of, build_denoiser
from model.specs.recipe import Recipe
from model.specs.training import ExecutionSpec, Parallelism
from model.training.distributed import World
from model.training.optimiser import build_optimiser
from model.training.precision import Arithmetic


class StateMismatch(ValueError):
    """A saved state is of another network."""

    def __init__(self, name: str, found: Tensor | None, wanted: Tensor) -> None:
        what = "nothing" if found is None else str(tuple(found.shape))
        super().__init__(f"{name}: got {what}; allowed: {tuple(wanted.shape)}")


@dataclass(slots=True)
class TrainingState:
    """The network, what follows it, and how far it has come; the recipe determines the rest.

    `replica` is `network` as this process calls it: itself, or wrapped to share its gradients.
    """

    network: nn.Module
    replica: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    arithmetic: Arithmetic
    step: int = 0
    position: object = None  # in the data, as JSON; None where that follows from the step

    @contextmanager
    def sharing(self, *, last: bool) -> Iterator[None]:
        """Share gradients among processes in the backward pass of the last part of a batch only."""
        match self.replica:
            case DistributedDataParallel() if not last:
                with self.replica.no_sync():
                    yield
            case FSDPModule():
                self.replica.set_requires_gradient_sync(last)
                yield
            case _:
                yield

    def tensors(self, world: World) -> dict[str, Tensor]:
        """All tensors by name, whole and on the CPU: weights, their average, and the moments.

        Every process must call it, as each may hold a share of every tensor; the leading one gets
        them, the others nothing.
        """
        named: dict[str, Tensor] = {}
        for name, tensor in self._named():
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if world.leads:
                named[name] = whole.detach().cpu()
        return named

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        for prefix, module in (("network", self.network), ("average", self.average)):
            for name, parameter in module.named_parameters():
                yield f"{prefix}/{name}", parameter
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                yield f"{key}/{name}", value

    def load(self, named: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` returned, on any number of processes.

        Raises:
            StateMismatch: a tensor is missing or has another shape; names it.
        """
        for prefix in ("network", "average"):
            for name, parameter in self.network.named_parameters():
                found = named.get(f"{prefix}/{name}")
                if found is None or found.shape != parameter.shape:
                    raise StateMismatch(name, found, parameter)
        for prefix, module in (("network", self.network), ("average", self.average)):
            for name, parameter in module.named_parameters():
                with torch.no_grad():
                    parameter.copy_(_like(parameter, named[f"{prefix}/{name}"]))
        for name, parameter in self.network.named_parameters():
            if f"step/{name}" in named:  # absent before the first step
                self.optimiser.state[parameter] = {
                    "step": named[f"step/{name}"],
                    "exp_avg": _like(parameter, named[f"exp_avg/{name}"]),
                    "exp_avg_sq": _like(parameter, named[f"exp_avg_sq/{name}"]),
                }

    def whole_average(self, recipe: Recipe) -> nn.Module:
        """The average as one plain network on the CPU; every process must call it."""
        network = build_denoiser(recipe.network)
        for name, parameter in self.average.named_parameters():
            whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            network.get_parameter(name).data.copy_(whole.detach())
        return network


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """A whole tensor on the parameter's device, cut up as the parameter is."""
    value = value.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return value
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(value, mesh, placements, src_data_rank=None)


def new_state(
    recipe: Recipe,
    execution: ExecutionSpec,
    world: World,
    *,
    prepare: Callable[[nn.Module], None] = lambda network: None,
) -> TrainingState:
    """Weights on this process's device, ready to be trained.

    Args:
        recipe: its seed determines fresh weights.
        execution: how they are to be trained.
        world: the processes.
        prepare: called with the fresh network, to put other weights into it.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(recipe.training.seed)
        network = build_denoiser(recipe.network)
    prepare(network)
    average = copy.deepcopy(network).requires_grad_(requires_grad=False)
    network, average = network.to(world.device), average.to(world.device)
    if execution.checkpoint_activations:
        network.checkpoint_blocks()
    if execution.compile:
        for block in blocks_of(network):
            block.compile()  # in place: names in the state stay as they are
    replica: nn.Module = network
    if world.size > 1:
        match execution.parallelism:
            case Parallelism.DDP:
                ids = [world.device.index] if world.device.type == "cuda" else None
                replica = DistributedDataParallel(network, device_ids=ids)
            case Parallelism.FSDP:
                for module in (network, average):
                    for block in blocks_of(module):
                        fully_shard(block)
                fully_shard(network)
                fully_shard(average, reshard_after_forward=True)  # no backward pass will do it
    state = TrainingState(
        network=network,
        replica=replica,
        average=average,
        optimiser=build_optimiser(network, recipe.training.optimiser),
        arithmetic=Arithmetic(execution.precision, world.device),
    )
    if isinstance(replica, DistributedDataParallel):
        _settle_buckets(state, recipe, world.part(recipe.training.batch), execution.accumulate)
    return state


def _settle_buckets(state: TrainingState, recipe: Recipe, part: slice, pieces: int) -> None:
    """Have DDP arrange gradients now as it does once, after its first backward pass.

    How the sum over three or more processes is rounded follows from a gradient's place, so that
    the first step of a continued run would not be that of a run that was never stopped.
    """
    count = (part.stop - part.start) // pieces
    device = next(state.network.parameters()).device
    inputs = blank_inputs(recipe.network, count, device, t=recipe.process.t_max)
    with state.arithmetic.forward():
        outputs = state.replica(*inputs)
    sum(output.float().sum() for output in outputs).backward()
    state.network.zero_grad(set_to_none=True)
