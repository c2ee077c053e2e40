"""A row of a study: one recipe with one thing changed."""

from collections.abc import Callable
from dataclasses import dataclass

from model.specs.recipe import Recipe


class BaseRefused(ValueError):
    """The rows cannot be made from this recipe."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what is compared, where the paper has it, and the change it stands for."""

    name: str
    table: str
    meaning: str
    change: Callable[[Recipe], Recipe]
    seed: int = 0

    def recipe(self, base: Recipe) -> Recipe:
        """The base with this row's change and seed, validated anew.

        Raises:
            BaseRefused: the base is none that this row can be made from.
        """
        values = self.change(base).model_dump()
        values["id"] = f"{base.id}-{self.name}"
        values["description"] = f"{self.meaning}; a row of {self.table}, made from {base.id}."
        values["training"]["seed"] = base.training.seed + self.seed
        return Recipe.model_validate(values)
