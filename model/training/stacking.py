"""Model stacking (arXiv:2407.06079): higher scales are added around a trained lower one.

What the network of the lower scales has learnt stays as it is, since nothing it computes depends on
a higher scale; the outputs of the new scales are zero at first. All weights go on training.

A network is told the time and not the log-SNR, and states and not words. So what it has learnt is
of use only where these mean the same: schedule, reference, delays, codec, prediction and text
encoder must agree. Other times (`t_min`, `t_max`) may be trained on, as each still means what it
did; and noise may be shared otherwise, as at each scale it is white of variance 1 all the same.
What is new in that, the network learns.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from model.bundle import DENOISER, Bundle
from model.denoisers.layered import LayeredUNet
from model.files import write_whole
from model.specs.layered import LayeredSpec
from model.specs.process import ProcessSpec
from model.specs.recipe import Recipe
from model.specs.text import TextEncoderIdentity

ORIGIN = "stacked-on.json"


class StackRefused(ValueError):
    """A bundle is not the lower part of the network that is to be trained."""


def check_stackable(
    below: Bundle, recipe: Recipe, text: TextEncoderIdentity | None, folder: Path
) -> None:
    """Refuse a bundle that the recipe's network does not hold as its lower scales.

    Args:
        below: what is to be stacked on.
        recipe: of the network that is to be trained.
        text: of the encoder that makes its states; None for a class model.
        folder: where the bundle was read from.

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
    got = _structure(lower) | _meanings(below.manifest.process, below.manifest.text, count)
    allowed = _structure(wanted) | _meanings(recipe.process, text, count)
    for name, value in allowed.items():
        if got[name] != value:
            msg = (
                f"--stack-on: {folder}: {name}: got {got[name]}; "
                f"allowed: {value}, as in the lower scales of the recipe"
            )
            raise StackRefused(msg)


def _structure(network: LayeredSpec) -> dict[str, object]:
    """What decides the shapes of the weights and what is computed with them."""
    return {f"network.{name}": getattr(network, name) for name in LayeredSpec.model_fields}


def _meanings(
    process: ProcessSpec, text: TextEncoderIdentity | None, count: int
) -> dict[str, object]:
    """What decides how the `count` lowest scales read their inputs, and what their outputs say."""
    scales = process.scales
    delays = None if scales is None else (scales.delays or (0.0,) * count)[:count]
    return {
        "process.codec": process.codec,
        "process.schedule": process.schedule,
        "process.scales.reference": None if scales is None else scales.reference,
        "process.scales.delays": delays,
        "process.prediction": process.prediction.value,
        "text.sha256": None if text is None else text.sha256,
    }


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
