"""What is drawn to compare engines: seeds with classes or prompts, the same ones every time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.sampling.conditions import Wanted
from model.specs.layered import LayeredSpec
from model.specs.manifest import Manifest

TOGETHER = 8  # images that are computed together

PROMPTS = (
    "a red apple",
    "a black cat on a green sofa",
    "",
    "two boats on a lake at dawn",
    "a portrait of an old man in the style of a woodcut",
    "blue",
    "a bowl of soup, seen from above",
    "a bridge over a river in a city at night",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One image: what it shows, from which seed, at which size in pixels."""

    condition: Wanted
    seed: int
    size: int

    @property
    def named(self) -> str:
        """For people."""
        shown = (
            f"prompt {self.condition!r}"
            if isinstance(self.condition, str)
            else (f"class {self.condition}")
        )
        return f"{shown}, seed {self.seed}, {self.size} pixels"

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        kind = "prompt" if isinstance(self.condition, str) else "class"
        return {kind: self.condition, "seed": self.seed, "size": self.size}


def cases_of(manifest: Manifest, samples: int) -> tuple[Case, ...]:
    """Images of unlike seeds, `samples` at every size, over all that a model draws.

    Classes are spread evenly where there are more of them than samples, and come in turn where
    there are fewer; prompts are the concepts that a model was trained on, where it says so.

    Args:
        manifest: of the bundle.
        samples: at least 1.
    """
    wanted = _wanted(manifest)
    shown = [
        wanted[index * len(wanted) // samples if samples < len(wanted) else index % len(wanted)]
        for index in range(samples)
    ]
    return tuple(
        Case(condition, seed, size)
        for size in manifest.sizes
        for seed, condition in enumerate(shown)
    )


def together(cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
    """Neighbours of one size, `TOGETHER` of them at most."""
    for size in dict.fromkeys(case.size for case in cases):
        alike = [case for case in cases if case.size == size]
        for start in range(0, len(alike), TOGETHER):
            yield alike[start : start + TOGETHER]


def _wanted(manifest: Manifest) -> Sequence[Wanted]:
    network = manifest.network
    if not isinstance(network, LayeredSpec):
        return range(network.classes)
    data = manifest.provenance.get("data")
    concepts = data.get("concepts") if isinstance(data, dict) else None
    return tuple(str(concept) for concept in concepts) if concepts else PROMPTS
