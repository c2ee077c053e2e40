"""What the parts of a network are called, by the module that holds them."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from model.specs.layered import LayeredSpec
from model.specs.networks import NetworkSpec

_STAGE = re.compile(r"stages\.(\d+)(?:\.|$)")
_PARTS = {  # module within a stage -> name of the part
    "patchify": "input conv",
    "position": "position",
    "class_embedding": "class",
    "upsample.norm_in": "upsample in",
    "upsample.linear": "upsample linear",
    "upsample.norm_out": "upsample out",
    "trunk.blocks": "blocks",
    "trunk.skips": "skip denses",
    "head": "output",
}


class Place(NamedTuple):
    """Stage, or scale of a layered network, counted from the lowest, and name of a part.

    What serves all of them has no stage.
    """

    stage: int | None
    part: str


class Parts:
    """Tells to which part of a network its modules and parameters belong."""

    def __init__(self, spec: NetworkSpec) -> None:
        """Prepare for the network that `spec` describes."""
        self._places = _layered(spec) if isinstance(spec, LayeredSpec) else {}

    def of(self, name: str) -> Place:
        """The part of a module or parameter with this dotted name; "" is the network itself."""
        for module, place in self._places.items():
            if _within(name, module):
                return place
        stage = None
        if found := _STAGE.match(name):
            stage, name = int(found[1]), name[found.end() :]
        for module, part in _PARTS.items():
            if _within(name, module):
                return Place(stage, part)
        return Place(stage, name.partition(".")[0].replace("_", " ") or "itself")


def _within(name: str, module: str) -> bool:
    return f"{name}.".startswith(f"{module}.")


def _layered(spec: LayeredSpec) -> Mapping[str, Place]:
    """The parts of a layered network, named by the sides of their grids."""
    grids = [spec.scales[0] // 2**level for level in range(len(spec.core))]
    places = {
        "core.enter": Place(0, f"core {grids[0]} in"),
        "core.middle": Place(0, f"core {grids[-1]} middle"),
    }
    for level, grid in enumerate(grids):
        places[f"core.down.{level}"] = Place(0, f"core {grid} down")
        places[f"core.up.{level}"] = Place(0, f"core {grid} up")
    for level, (high, low) in enumerate(pairwise(grids)):
        places[f"core.fall.{level}"] = Place(0, f"core {high} to {low}")
        places[f"core.rise.{level}"] = Place(0, f"core {low} to {high}")
    for scale, (low, high) in enumerate(pairwise(spec.scales), 1):
        places[f"outer.{scale - 1}.enter"] = Place(scale, f"{high} in")
        places[f"outer.{scale - 1}.rise"] = Place(scale, f"{low} to {high}")
        places[f"outer.{scale - 1}.blocks"] = Place(scale, f"{high} blocks")
    for scale, side in enumerate(spec.scales):
        places[f"outputs.{scale}"] = Place(scale, f"output {side}")
    return places
