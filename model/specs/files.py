"""Recipes by name, as they come with the project, or from a file."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from model.specs.faults import described
from model.specs.recipe import Recipe

_RECIPES = files("model") / "recipes"


class RecipeRefused(ValueError):
    """No such recipe, or a file that is none."""


def recipe_names() -> Sequence[str]:
    """The recipes that come with the project, in alphabetical order."""
    return sorted(
        entry.name.removesuffix(".json")
        for entry in _RECIPES.iterdir()
        if entry.name.endswith(".json")
    )


def read_recipe(name: str) -> Recipe:
    """Load a recipe by name or path.

    Raises:
        RecipeRefused: it does not exist or does not validate; says which field is wrong.
    """
    source = _RECIPES / f"{name}.json" if name in recipe_names() else Path(name)
    if not source.is_file():
        msg = f"recipe: got {name!r}; allowed: {', '.join(recipe_names())}, or a JSON file"
        raise RecipeRefused(msg)
    try:
        return Recipe.model_validate_json(source.read_bytes())
    except ValidationError as error:
        msg = f"recipe {name}: {'; '.join(map(described, error.errors()))}"
        raise RecipeRefused(msg) from error
