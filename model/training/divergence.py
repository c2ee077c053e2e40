"""What went wrong when a loss or a gradient is not finite, in words that say what to do."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.training.distributed import World
from model.training.objective import Batch

NAMED = 3  # parameters that a message lists


class Diverged(RuntimeError):
    """Training stopped before a step that would have spoilt the weights."""


@dataclass(frozen=True, slots=True)
class Recent:
    """The last steps: (step, loss, gradient norm, rate), oldest first."""

    steps: deque[tuple[int, float, float, float]]

    def fault(self, *, may_overflow: bool) -> str | None:
        """What of the newest step is not finite; in fp16 a gradient may overflow now and then."""
        _, loss, norm, _ = self.steps[-1]
        if not math.isfinite(loss):
            return "loss"
        if not math.isfinite(norm) and not may_overflow:
            return "gradient"
        return None


def diagnose(
    fault: str,
    recent: Recent,
    branches: Sequence[float],
    network: nn.Module,
    batch: Batch,
    world: World,
) -> str:
    """Describe a step that was not taken; every process must call it.

    Args:
        fault: what is not finite, "loss" or "gradient".
        recent: the last steps, the one in question included.
        branches: its losses, low to high.
        network: with the weights before it and the gradients of it, as the norm was taken of them.
        batch: what this process was to learn from.
        world: the processes, each of which may hold a share of every tensor.
    """
    step, loss, norm, rate = recent.steps[-1]
    parts = [f"the {fault} is not finite at step {step}: loss {loss:.4g}, gradient norm {norm:.4g}"]
    parts.append(f"rate {rate:.3g}, branches {', '.join(f'{b:.4g}' for b in branches)}")
    if not bool(batch.x0.isfinite().all()):
        rows = (~batch.x0.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        parts.append(f"the data of examples {rows[:NAMED]} of the batch are not finite")
    parameters = dict(network.named_parameters())
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    for kind, tensors in (("weights", parameters), ("gradients", gradients)):
        names = _not_finite(tensors, world)
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            parts.append(f"{kind} not finite: {', '.join(names[:NAMED])}{more}")
    before = ", ".join(f"{loss:.4g} ({norm:.3g})" for _, loss, norm, _ in list(recent.steps)[-6:-1])
    if before:
        parts.append(f"losses (gradient norms) before: {before}")
    parts.append(
        "lower the rate, set clip_norm or use another precision, then continue with --resume "
        "from the last checkpoint"
    )
    return "; ".join(parts)


def _not_finite(tensors: Mapping[str, Tensor], world: World) -> list[str]:
    """Names of those that hold something else than finite numbers, in order."""
    own = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    found = {name for names in world.gathered(own) if isinstance(names, list) for name in names}
    return [name for name in tensors if name in found]


def is_finite(tensor: Tensor) -> bool:
    """Whether this process's share of a tensor holds finite numbers only."""
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return bool(local.isfinite().all())
