"""AdamW with its groups and rate, and the moving average of the weights."""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.specs.training import OptimiserSpec

UNDECAYED = (".slope", ".offset")  # gates of the time-dependent norms, as the DiMR authors do


def build_optimiser(network: nn.Module, spec: OptimiserSpec) -> torch.optim.AdamW:
    """AdamW with two groups: everything that decays, and the gates of the norms, which do not."""
    named = list(network.named_parameters())
    decayed = [p for name, p in named if not name.endswith(UNDECAYED)]
    free = [p for name, p in named if name.endswith(UNDECAYED)]
    groups = [
        {"params": decayed, "weight_decay": spec.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=spec.rate, betas=spec.betas)


def rate_at(step: int, steps: int, spec: OptimiserSpec) -> float:
    """Learning rate of a step: warm-up from zero, constant, then linear down to the floor."""
    warm = min(step / spec.warmup_steps, 1.0) if spec.warmup_steps else 1.0
    start = steps * (1 - spec.tail)
    fall = 0.0 if step <= start else (step - start) / (steps - start)
    return spec.rate * warm * (1 - fall * (1 - spec.tail_floor))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use this learning rate from now on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network: average = decay * average + (1 - decay) * network."""
    torch._foreach_lerp_(_local(average), _local(network), 1 - decay)


def _local(module: nn.Module) -> list[Tensor]:
    """The parameters, of a sharded module this process's share of them."""
    return [p.to_local() if isinstance(p, DTensor) else p.detach() for p in module.parameters()]
