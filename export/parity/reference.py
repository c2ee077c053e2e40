"""What engines are compared with: PyTorch in float32, and the network calls that it made."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.compilers.options import Progress
from export.parity.cases import TOGETHER, Case, together
from export.runtime.arguments import flattened
from export.runtime.trajectory import Tensors
from model.bundle import Bundle
from model.sampling.conditions import conditions_for
from model.sampling.images import ImageRequest, generate
from model.specs.process import SamplingDefaults

if TYPE_CHECKING:
    from model.denoisers.build import Denoiser

TIMES = 8  # network calls kept of each size, spread over a trajectory


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A network call of a trajectory in float32.

    Attributes:
        cases: one for each row.
        guided: whether rows have their condition; False is the other half of guidance.
        xs: (B, C, d, d) low to high.
        t: (B,).
        condition: tensors of B rows.
    """

    cases: Sequence[Case]
    guided: bool
    xs: Tensors
    t: Tensor
    condition: Tensors

    @property
    def inputs(self) -> Tensors:
        """As a part takes them."""
        return flattened(self.xs, self.t, self.condition)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Images in float32.

    Attributes:
        images: (H, W, 3) of each case.
        calls: of the first images of each size, at `TIMES` times at most.
        ends: (B, C, d, d) that these images were decoded from, by size.
    """

    images: Sequence[NDArray[np.uint8]]
    calls: Sequence[Call]
    ends: dict[int, Tensor]


class _Kept(nn.Module):
    """A network that keeps what it is called with while `kept` is a list."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.kept: list[tuple[Tensors, Tensor, Tensors]] | None = None

    def forward(
        self, x: Tensor | Sequence[Tensor], t: Tensor, *condition: Tensor
    ) -> Sequence[Tensor]:
        """What the network gives."""
        if self.kept is not None:
            states = (x,) if isinstance(x, Tensor) else tuple(x)
            self.kept.append((tuple(s.clone() for s in states), t.clone(), condition))
        found: Sequence[Tensor] = self.network(x, t, *condition)
        return found


def reference_of(
    bundle: Bundle, cases: Sequence[Case], sampling: SamplingDefaults, progress: Progress
) -> Reference:
    """Draw all cases with the bundle's own network, where that is.

    Raises:
        BundleRefused: a latent model without its autoencoder.
        ParameterRejected, SamplerUnknown: see `model.sampling.images.generate`.
    """
    network = _Kept(bundle.network)
    traced = dataclasses.replace(bundle, network=cast("Denoiser", network))
    images: list[NDArray[np.uint8]] = []
    calls: list[Call] = []
    ends: dict[int, Tensor] = {}
    progress.began("reference", "sampling in float32", len(cases))
    for batch in together(cases):
        size, first = batch[0].size, batch[0].size not in ends
        network.kept = [] if first else None

        def ended(_calls: int, states: Tensors, _data: Tensors, size: int = size) -> None:
            ends[size] = states[-1]

        requests = [request_of(case, sampling) for case in batch]
        on_step = ended if first else None
        with exactly():
            images += generate(traced, requests, batch=TOGETHER, on_step=on_step)
        calls += _spread(bundle, batch, network.kept or [])
        progress.advanced(len(images))
    return Reference(images, calls, ends)


def request_of(case: Case, sampling: SamplingDefaults) -> ImageRequest:
    """A case as the sampler is asked for it."""
    return ImageRequest(
        condition=case.condition,
        seed=case.seed,
        steps=sampling.steps,
        sampler=sampling.sampler,
        guidance=sampling.guidance,
        size=case.size,
    )


@contextmanager
def exactly() -> Iterator[None]:
    """Float32 is float32: without the 10 bits of TF32 that convolutions have on a GPU."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False), torch.no_grad():
        yield


def _spread(
    bundle: Bundle, cases: Sequence[Case], kept: Sequence[tuple[Tensors, Tensor, Tensors]]
) -> Iterator[Call]:
    """Calls at times that are spread evenly, the first and the last among them."""
    if not kept:
        return
    null = conditions_for(bundle.manifest.network, bundle.prompts)
    nothing = null.null(len(cases), kept[0][1].device)
    times = list(dict.fromkeys(t[0].item() for _, t, _ in kept))
    count = min(TIMES, len(times))
    chosen = {times[round(k * (len(times) - 1) / max(count - 1, 1))] for k in range(count)}
    for xs, t, condition in kept:
        if t[0].item() in chosen:
            same = all(torch.equal(c, n) for c, n in zip(condition, nothing, strict=True))
            yield Call(cases, not same, xs, t, condition)
