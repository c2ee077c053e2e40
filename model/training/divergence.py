"""What went wrong when a loss or a gradient is not finite, in words that say what to do."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

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
    fault: str, recent: Recent, branches: Sequence[float], network: nn.Module, batch: Batch
) -> str:
    """Describe a step that was not taken.

    Args:
        fault: what is not finite, "loss" or "gradient".
        recent: the last steps, the one in question included.
        branches: its losses, low to high.
        network: with the weights before it and the gradients of it.
        batch: what it was to learn from.
    """
    step, loss, norm, rate = recent.steps[-1]
    parts = [f"the {fault} is not finite at step {step}: loss {loss:.4g}, gradient norm {norm:.4g}"]
    parts.append(f"rate {rate:.3g}, branches {', '.join(f'{b:.4g}' for b in branches)}")
    if not bool(batch.x0.isfinite().all()):
        rows = (~batch.x0.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        parts.append(f"the data of examples {rows[:NAMED]} of the batch are not finite")
    weights = [n for n, p in network.named_parameters() if not bool(p.isfinite().all())]
    gradients = [
        n
        for n, p in network.named_parameters()
        if p.grad is not None and not bool(p.grad.isfinite().all())
    ]
    for kind, names in (("weights", weights), ("gradients", gradients)):
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
