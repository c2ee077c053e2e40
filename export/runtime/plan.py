"""Compiled plans as networks: what a call is bound to, whatever library enqueues it.

A call of so many rows is bound once: an execution context by itself (a captured graph ends with the
context it was captured from), buffers of its own, and working memory that all contexts share, as
they take turns on one stream. Then it is captured, or where the library forbids that, enqueued as
it is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from export.runtime.bindings import Binding, Profile, profile_for
from export.runtime.graphs import Bind, Bound, Run
from export.runtime.trajectory import Tensors


class PlanFault(RuntimeError):
    """A plan that was accepted could not be run; the engine is of no more use."""


class Context(Protocol):
    """One way of calling a plan: for so many rows, on memory of its own."""

    @property
    def capturable(self) -> bool:
        """Whether `enqueue` may be captured as a CUDA graph."""

    def bind(self, name: str, tensor: Tensor) -> None:
        """Read this input, or write this output, there from now on."""

    def enqueue(self) -> None:
        """Compute on the current stream, without waiting.

        Raises:
            PlanFault: the library refuses.
        """


class Plan(Protocol):
    """A plan on its device."""

    @property
    def inputs(self) -> Mapping[str, Binding]:
        """What it reads."""

    @property
    def outputs(self) -> Mapping[str, Binding]:
        """What it writes, in any order."""

    @property
    def profiles(self) -> Sequence[Profile]:
        """Row counts that it takes."""

    @property
    def scratch_bytes(self) -> int:
        """Working memory of a context, at most."""

    def context(self, profile: int, scratch: Tensor) -> Context:
        """A context by a profile, with this working memory."""


def bind_of(
    plan: Plan,
    inputs: Iterable[str],
    outputs: Iterable[str],
    scratch: Tensor,
    capture: Callable[[Run], Bound],
) -> Bind:
    """What binds calls of a plan; these raise PlanFault where there is no way to run them.

    Args:
        plan: on its device.
        inputs: the names of what it is called with, in order.
        outputs: the names of its results, in order.
        scratch: working memory, shared with other contexts of the same stream.
        capture: makes a call repeatable, e.g. `CudaGraphs.capture`.
    """
    read, written = tuple(inputs), tuple(outputs)

    def bound(kept: Tensors) -> Bound:
        rows = len(kept[0])
        profile = profile_for(rows, plan.profiles)
        if profile is None:
            msg = f"none of the plan's profiles takes {rows} rows"
            raise PlanFault(msg)
        results = tuple(
            torch.empty((rows, *of.shape[1:]), dtype=of.dtype, device=kept[0].device)
            for of in map(plan.outputs.__getitem__, written)
        )
        context = plan.context(profile, scratch)
        for name, tensor in zip((*read, *written), (*kept, *results), strict=True):
            context.bind(name, tensor)

        def run() -> Tensors:
            context.enqueue()
            return results

        if not context.capturable:
            return results, run
        recorded, repeat = capture(run)
        return recorded, lambda: (repeat(), context)  # the context must outlive what is recorded

    return bound
