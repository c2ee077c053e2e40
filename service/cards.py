"""Model cards: what a worker says about a model it serves, and what a request may ask of it."""

import difflib
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.errors import RequestRejected

Conditioning = Literal["class", "prompt"]


class ClassEntry(BaseModel):
    """One class of a class-conditional model."""

    model_config = ConfigDict(frozen=True)

    index: int
    name: str
    aliases: tuple[str, ...] = ()


class Limits(BaseModel):
    """Inclusive bounds of the numeric fields of a request."""

    model_config = ConfigDict(frozen=True)

    min_steps: int = 1
    max_steps: int = 250
    min_guidance: float = 0.0
    max_guidance: float = 20.0
    max_images: int = 10


class Defaults(BaseModel):
    """What a request gets where it is silent."""

    model_config = ConfigDict(frozen=True)

    steps: int
    guidance: float
    sampler: str
    size: int


class ModelCard(BaseModel):
    """Published by a worker at start, listed by `GET /v1/models`, and used to validate requests."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Literal["dimr", "uvit", "dit", "layered"]
    conditioning: tuple[Conditioning, ...]
    sizes: tuple[int, ...]
    classes: tuple[ClassEntry, ...] = ()
    samplers: tuple[str, ...]
    limits: Limits
    defaults: Defaults
    engine: Mapping[str, object] = {}
    description: str = ""
    licence: str = ""
    created: int = 0
    previews: bool = False
    """Running jobs show their images at the lowest of the sizes."""
    row_costs: Mapping[int, float] = {}
    """By size, see `row_cost`; 1 where it is silent."""

    @cached_property
    def _names(self) -> Mapping[str, int]:
        """Class index by folded name or alias; names go before aliases, low indices before high."""
        named = [(c.name, c.index) for c in self.classes]
        named += [(alias, c.index) for c in self.classes for alias in c.aliases]
        return {_folded(name): index for name, index in reversed(named)}

    def row_cost(self, size: int) -> float:
        """Time of a network row of `size` over that of one of the largest, > 0."""
        return self.row_costs.get(size, 1.0)

    def check_condition(self, condition: int | str) -> None:
        """Accept a class index, or a prompt, where the model is conditioned on such.

        Raises:
            RequestRejected: it is not, or has no such class; never with the prompt in it.
        """
        if isinstance(condition, int):
            self.class_index("class_label", condition)
        elif "prompt" not in self.conditioning:
            raise RequestRejected("model", self.id, "a model that draws from a prompt")

    def class_index(self, field: str, value: int | str) -> int:
        """Resolve a class given as index, name or alias; names ignore case and outer blanks.

        Raises:
            RequestRejected: no such class; the message suggests the nearest names. Or the model
                draws no classes.
        """
        if "class" not in self.conditioning:
            raise RequestRejected(field, value, f"none, {self.id} draws from a prompt")
        if isinstance(value, int):
            if not 0 <= value < len(self.classes):
                raise RequestRejected(
                    field, value, f"0 to {len(self.classes) - 1}, or a class name"
                )
            return value
        wanted = _folded(value)
        if wanted in self._names:
            return self._names[wanted]
        near = difflib.get_close_matches(wanted, self._names, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        allowed = f"one of the {len(self.classes)} classes of {self.id}, see GET /v1/models{hint}"
        raise RequestRejected(field, value, allowed)


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())
