"""Model stacking (arXiv:2407.06079): higher scales are added around a trained lower one.

What the network of the lower scales has learnt stays as it is, since nothing it computes depends on
a higher scale; the outputs of the new scales are zero at first. All weights go on training.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from model.bundle import DENOISER, Bundle
from model.denoisers.layered import LayeredUNet
from model.files import write_whole
from model.specs.layered import LayeredSpec
from model.specs.recipe import Recipe

ORIGIN = "stacked-on.json"


class StackRefused(ValueError):
    """A bundle is not the lower part of the network that is to be trained."""


def check_stackable(below: Bundle, recipe: Recipe, folder: Path) -> None:
    """Refuse a bundle that the recipe's network does not hold as its lower scales.

    Raises:
        StackRefused: names what differs.
    """
    lower, whole = below.manifest.network, recipe.network
    if not (isinstance(lower, LayeredSpec) and isinstance(whole, LayeredSpec)):
        msg = f"--stack-on: {folder} or the recipe is of no layered network; allowed: both are"
        raise StackRefused(msg)
    count = len(lower.scales)
    if count >= len(whole.scales):
        msg = (
            f"--stack-on: {folder} has scales {lower.scales}; "
            f"allowed: fewer than the recipe's {whole.scales}"
        )
        raise StackRefused(msg)
    wanted = whole.model_copy(
        update={"scales": whole.scales[:count], "outer": whole.outer[: count - 1]}
    )
    for name in type(lower).model_fields:
        if getattr(lower, name) != getattr(wanted, name):
            msg = (
                f"--stack-on: {folder}: network.{name}: got {getattr(lower, name)}; "
                f"allowed: {getattr(wanted, name)}, as in the lower scales of the recipe"
            )
            raise StackRefused(msg)
    if below.manifest.process.prediction is not recipe.process.prediction:
        msg = (
            f"--stack-on: {folder} predicts {below.manifest.process.prediction.value!r}; "
            f"allowed: {recipe.process.prediction.value!r}"
        )
        raise StackRefused(msg)


def stack_on(network: nn.Module, below: Bundle) -> None:
    """Take over the weights of the lower scales; `check_stackable` has found that they fit."""
    assert isinstance(network, LayeredUNet)
    new = network.load_state_dict(below.network.state_dict(), strict=False)
    assert not new.unexpected_keys


def record_origin(run: Path, below: Bundle) -> None:
    """Write into a run folder what its network was stacked on."""
    manifest = below.manifest
    facts = {
        "id": manifest.id,
        "denoiser_sha256": manifest.files[DENOISER].sha256,
        "steps": manifest.provenance.get("steps"),
        "images_seen": manifest.provenance.get("images_seen"),
    }
    write_whole(run / ORIGIN, (json.dumps(facts) + "\n").encode())


def read_origin(run: Path) -> Mapping[str, object] | None:
    """What `record_origin` wrote; None where a run began with fresh weights."""
    path = run / ORIGIN
    if not path.is_file():
        return None
    facts: dict[str, object] = json.loads(path.read_text("utf-8"))
    return facts
