"""The layered paper's claims as variations of one recipe (arXiv:2407.06079).

The base has shared noise and canonical shifts. Every row leaves the highest scale its schedule and
its noise, and changes what it is denoised together with, so that figures of the highest scale
compare. A row without shifts needs independent noise, since with shared noise the network would
read the clean image off two scales; it is to be compared with the row of independent noise.

`layered-ablation-32` takes 32 pixels for its reference, so that its highest scale has the plain
cosine schedule, as in the study of DiMR. All rows measure the error of the velocity: of the noise
it would be alpha^2 times that, and at so few steps nothing would be learnt where there is most
noise.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

from model.specs.layered import LayeredSpec
from model.specs.process import ScalesSpec
from model.specs.recipe import Recipe
from model.study.rows import BaseRefused, Row


def _as_it_is(base: Recipe) -> Recipe:
    _parts(base)
    return base


def _single(base: Recipe) -> Recipe:
    """The highest scale alone: the outer levels become levels of the core, with a way down."""
    network, _ = _parts(base)
    if any(high != 2 * low for low, high in pairwise(network.scales)):
        msg = (
            f"base: got scales {network.scales}; allowed: each twice the one before, as a level of "
            f"the core halves the grid"
        )
        raise BaseRefused(msg)
    alone = {
        "scales": network.scales[-1:],
        "core": (*reversed(network.outer), *network.core),
        "outer": (),
    }
    return base.model_copy(
        update={
            "network": network.model_copy(update=alone),
            "training": base.training.model_copy(update={"scale_weights": None, "crop": None}),
        }
    )


def _independent(base: Recipe) -> Recipe:
    return _scaled(base, shared=0.0)


def _unshifted(base: Recipe) -> Recipe:
    """The schedule of the highest scale at every scale."""
    network, _ = _parts(base)
    delays = tuple(2 * math.log(side / network.size) for side in network.scales)
    return _scaled(base, shared=0.0, delays=delays)


def _scaled(base: Recipe, **fields: object) -> Recipe:
    _, scales = _parts(base)
    changed = ScalesSpec.model_validate(scales.model_dump() | fields)
    process = base.process.model_copy(update={"scales": changed})
    return base.model_copy(update={"process": process})


def _parts(base: Recipe) -> tuple[LayeredSpec, ScalesSpec]:
    network, scales = base.network, base.process.scales
    if not isinstance(network, LayeredSpec) or len(network.scales) < 2:
        msg = (
            f"base: got a network of kind {network.kind!r}; "
            f"allowed: a layered one of two scales or more"
        )
        raise BaseRefused(msg)
    assert scales is not None, "a recipe of a layered network has scales"
    if scales.delays is not None or scales.shared != 1:
        msg = (
            f"base: got process.scales with delays {scales.delays} and shared {scales.shared}; "
            f"allowed: none and 1, for the rows change them"
        )
        raise BaseRefused(msg)
    return network, scales


_JOINT, _NOISE, _SHIFTS = "joint synthesis", "sinc noise", "shifted schedules"

_ROWS = (
    Row("layered", _JOINT, "all scales, shared noise, shifts", _as_it_is),
    Row("single", _JOINT, "the highest scale alone, equal width", _single),
    Row("independent", _NOISE, "noise of each scale drawn independently", _independent),
    Row("unshifted", _SHIFTS, "independent noise, one schedule for all", _unshifted),
)
ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        *_ROWS,
        *(
            Row(f"{row.name}-seed-1", row.table, "again, another seed", row.change, 1)
            for row in _ROWS  # what differences are to be measured by
        ),
    )
}
