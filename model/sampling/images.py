"""From a bundle to images: the reference that every serving engine is compared with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.bundle import Bundle
from model.diffusion.errors import ParameterRejected
from model.sampling.conditions import Wanted, conditions_for
from model.sampling.loop import OnScales
from model.sampling.noise import MAX_SEED
from model.sampling.painter import Painter, check_size
from model.sampling.samplers import tables_for
from model.sampling.tables import SolverTable

OnCall = Callable[[int], None]
"""(network rows just computed) -> None."""

Procedure = tuple[int, str, float, int | None]
"""(steps, sampler, guidance, size): requests that agree in it are computed together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One image.

    Attributes:
        condition: class index, or the prompt of a model that draws texts; "" is an unconditional
            image of it.
        seed: 0 to `MAX_SEED`; the image depends on no other source of chance.
        steps: network calls, at least 1.
        sampler: a name in `model.sampling.samplers.SAMPLERS`.
        guidance: scale s of u + s (c - u), at least 0; exactly 1 halves the work.
        size: side in pixels, one of the model's; its highest by default. A lower scale of a layered
            model costs that scale alone, and is what the full image of the seed is built on.
    """

    condition: Wanted
    seed: int
    steps: int
    sampler: str
    guidance: float
    size: int | None = None

    @property
    def procedure(self) -> Procedure:
        """What a batch has in common."""
        return self.steps, self.sampler, self.guidance, self.size


def generate(
    bundle: Bundle,
    requests: Sequence[ImageRequest],
    *,
    batch: int,
    on_call: OnCall | None = None,
    on_step: OnScales | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Make the images that are asked for, in the order of the requests.

    Up to `batch` neighbours of one procedure are computed together, which changes an image by
    rounding at most. Every request is checked before this returns; the work is done while the
    result is iterated.

    Args:
        bundle: the model.
        requests: any number of images.
        batch: the most images computed together, at least 1.
        on_call: told of each network call that a batch has made, conditional and unconditional
            rows together.
        on_step: told of each scale's states and data predictions after each call of a batch.

    Returns:
        An image (H, W, 3) for each request.

    Raises:
        ParameterRejected: a number is out of range, or the model cannot draw what is asked for.
        SamplerUnknown: a sampler that does not exist.
        BundleRefused: a latent model without its autoencoder.
    """
    if batch < 1:
        raise ParameterRejected(batch, name="batch", allowed="at least 1")
    tables, manifest = _tables(bundle, requests), bundle.manifest
    network = manifest.network
    conditions = conditions_for(network, bundle.prompts)
    painter = Painter(bundle.network, network, manifest.process, bundle.codec, conditions)
    parts = (
        (tables[procedure], part)
        for procedure, group in groupby(requests, lambda request: request.procedure)
        for part in _batched(list(group), batch)
    )
    return (
        image
        for its, part in parts
        for image in _images(painter, its, part, on_call=on_call, on_step=on_step)
    )


def network_rows(bundle: Bundle, requests: Sequence[ImageRequest]) -> int:
    """Network rows that `generate` computes for these requests in all; raises what it raises."""
    tables = _tables(bundle, requests)
    rows = {procedure: _rows(its) for procedure, its in tables.items()}
    return sum(sum(rows[request.procedure]) for request in requests)


def _tables(
    bundle: Bundle, requests: Sequence[ImageRequest]
) -> dict[Procedure, tuple[SolverTable, ...]]:
    """The tables of each procedure; also where requests are checked."""
    manifest = bundle.manifest
    conditions = conditions_for(manifest.network, bundle.prompts)
    for request in requests:
        conditions.check(request.condition)
        if not 0 <= request.seed <= MAX_SEED:
            raise ParameterRejected(request.seed, name="seed", allowed=f"0 to {MAX_SEED}")
        if request.size is not None:
            check_size(request.size, manifest.sizes)
    return {
        procedure: tables_for(
            manifest.process,
            manifest.network.sides,
            manifest.sampling,
            steps=procedure[0],
            sampler=procedure[1],
            guidance=procedure[2],
        )
        for procedure in {request.procedure for request in requests}
    }


def _rows(tables: Sequence[SolverTable]) -> list[int]:
    """Network rows an image costs at each call: one call serves all scales."""
    rows: list[int] = tables[0].rows_per_call.tolist()
    return rows


def _batched(requests: Sequence[ImageRequest], batch: int) -> Iterator[Sequence[ImageRequest]]:
    for start in range(0, len(requests), batch):
        yield requests[start : start + batch]


def _images(
    painter: Painter,
    tables: Sequence[SolverTable],
    requests: Sequence[ImageRequest],
    *,
    on_call: OnCall | None,
    on_step: OnScales | None,
) -> NDArray[np.uint8]:
    """One batch of one procedure: (B, H, W, 3)."""
    rows = _rows(tables)

    def report(calls: int, states: tuple[Tensor, ...], predictions: tuple[Tensor, ...]) -> None:
        if on_step is not None:
            on_step(calls, states, predictions)
        if on_call is not None:
            on_call(rows[calls - 1] * len(requests))

    return painter.paint(
        tables,
        [request.condition for request in requests],
        [request.seed for request in requests],
        size=requests[0].size,
        on_step=report,
    )
