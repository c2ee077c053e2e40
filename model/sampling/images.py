"""From a bundle to images: the reference that every serving engine is compared with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.bundle import Bundle
from model.diffusion.errors import ParameterRejected
from model.sampling.noise import MAX_SEED
from model.sampling.painter import Painter
from model.sampling.samplers import table_for
from model.sampling.tables import SolverTable

OnCall = Callable[[int], None]
"""(network rows just computed) -> None."""

Procedure = tuple[int, str, float]
"""(steps, sampler, guidance): requests that agree in it share a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One image.

    Attributes:
        label: class index.
        seed: 0 to `MAX_SEED`; the image depends on no other source of chance.
        steps: network calls, at least 1.
        sampler: a name in `model.sampling.samplers.SAMPLERS`.
        guidance: scale s of u + s (c - u), at least 0; exactly 1 halves the work.
    """

    label: int
    seed: int
    steps: int
    sampler: str
    guidance: float

    @property
    def procedure(self) -> Procedure:
        """What a table depends on."""
        return self.steps, self.sampler, self.guidance


def generate(
    bundle: Bundle,
    requests: Sequence[ImageRequest],
    *,
    batch: int,
    on_call: OnCall | None = None,
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

    Returns:
        An image (H, W, 3) for each request.

    Raises:
        ParameterRejected: a number is out of range.
        SamplerUnknown: a sampler that does not exist.
        BundleRefused: a latent model without its autoencoder.
    """
    if batch < 1:
        raise ParameterRejected(batch, name="batch", allowed="at least 1")
    tables, manifest = _tables(bundle, requests), bundle.manifest
    painter = Painter(bundle.network, manifest.network, manifest.process, bundle.codec)
    parts = (
        (tables[procedure], part)
        for procedure, group in groupby(requests, lambda request: request.procedure)
        for part in _batched(list(group), batch)
    )
    return (image for table, part in parts for image in _images(painter, table, part, on_call))


def network_rows(bundle: Bundle, requests: Sequence[ImageRequest]) -> int:
    """Network rows that `generate` computes for these requests in all; raises what it raises."""
    tables = _tables(bundle, requests)
    rows = {procedure: int(table.rows_per_call.sum()) for procedure, table in tables.items()}
    return sum(rows[request.procedure] for request in requests)


def _tables(bundle: Bundle, requests: Sequence[ImageRequest]) -> dict[Procedure, SolverTable]:
    """A table for each procedure; also where requests are checked."""
    manifest = bundle.manifest
    classes = manifest.network.classes
    for request in requests:
        if not 0 <= request.label < classes:
            raise ParameterRejected(request.label, name="label", allowed=f"0 to {classes - 1}")
        if not 0 <= request.seed <= MAX_SEED:
            raise ParameterRejected(request.seed, name="seed", allowed=f"0 to {MAX_SEED}")
    return {
        (steps, sampler, guidance): table_for(
            manifest.process, manifest.sampling, steps=steps, sampler=sampler, guidance=guidance
        )
        for steps, sampler, guidance in {request.procedure for request in requests}
    }


def _batched(requests: Sequence[ImageRequest], batch: int) -> Iterator[Sequence[ImageRequest]]:
    for start in range(0, len(requests), batch):
        yield requests[start : start + batch]


def _images(
    painter: Painter,
    table: SolverTable,
    requests: Sequence[ImageRequest],
    on_call: OnCall | None,
) -> NDArray[np.uint8]:
    """One batch of one procedure: (B, H, W, 3)."""
    rows = (table.rows_per_call * len(requests)).tolist()

    def report(calls: int, state: Tensor, data: Tensor) -> None:
        if on_call is not None:
            on_call(rows[calls - 1])

    labels, seeds = [r.label for r in requests], [r.seed for r in requests]
    return painter.paint(table, labels, seeds, on_step=report)
