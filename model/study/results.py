"""What a study found: a JSON file that grows row by row."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError

from model.files import write_whole
from model.specs.base import Spec
from model.specs.recipe import Recipe

RESULTS_NAME = "results.json"


class StudyRefused(ValueError):
    """A folder holds results that do not belong into one table with those asked for."""


class Subject(StrEnum):
    """Whose claims a study looks at."""

    DIMR = "dimr"  # arXiv:2406.09416
    LAYERED = "layered"  # arXiv:2407.06079


class ScaleResult(Spec):
    """What the judge of one size says of the samples of that size."""

    side: int
    judge_sha256: str
    class_accuracy: float = Field(description="share that the judge takes for what was asked for")
    small_feature_frechet: float = Field(description="to the training images; not FID")


class Result(Spec):
    """One trained row."""

    row: str
    recipe_sha256: str = Field(description="of the recipe it was trained by")
    meaning: str
    table: str
    parameters: int
    macs: int = Field(description="multiply-adds of one forward pass of one image")
    images_seen: int
    train_seconds: float = Field(description="depends on what else the machine did")
    loss: float = Field(description="denoising error of the highest branch, fixed noise and times")
    samples: int
    class_accuracy: float = Field(description="share that the judge takes for their class")
    small_feature_frechet: float = Field(description="to the training images; not FID")
    lower: tuple[ScaleResult, ...] = Field(
        default=(), description="the same of the lower scales of a layered network, low to high"
    )
    disagreement: tuple[float, ...] = Field(
        default=(), description="of the last data predictions, of each lower scale: 0 is one image"
    )
    call_ms: float | None = Field(
        default=None, description="median time of a network call, measured in turn with all others"
    )


class Study(Spec):
    """All rows so far, and what they have in common."""

    format_version: int = 1
    subject: Subject = Subject.DIMR
    base: str
    command: str
    date: str
    machine: str
    torch: str
    threads: int
    samples_per_class: int
    judge_sha256: str
    judge_real_accuracy: float = Field(description="the judge on the training images themselves")
    results: tuple[Result, ...] = ()


def write_study(folder: Path, study: Study, pages: Mapping[str, bytes]) -> None:
    """Write results.json and what is made of it, each whole.

    Args:
        folder: where they go.
        study: all rows so far.
        pages: other files by name.
    """
    write_whole(folder / RESULTS_NAME, (study.model_dump_json(indent=1) + "\n").encode())
    for name, content in pages.items():
        write_whole(folder / name, content)


def read_study(folder: Path) -> Study | None:
    """What an earlier call finished; None where there was no call.

    Raises:
        StudyRefused: results.json is not of this version.
    """
    path = folder / RESULTS_NAME
    if not path.is_file():
        return None
    try:
        return Study.model_validate_json(path.read_bytes())
    except ValidationError as error:
        msg = f"--out: {path} is no study of this version; name another folder"
        raise StudyRefused(msg) from error


def check_same(folder: Path, before: Study, now: Study, recipes: Mapping[str, Recipe]) -> None:
    """Refuse to put rows into one table that were not trained and measured alike.

    Raises:
        StudyRefused: names what differs.
    """
    for field in ("subject", "base", "samples_per_class", "judge_sha256"):
        was, wanted = getattr(before, field), getattr(now, field)
        if was != wanted:
            msg = f"--out: {folder} holds a study with {field} {was!r}; allowed: {wanted!r} alike"
            raise StudyRefused(msg)
    for result in before.results:
        recipe = recipes.get(result.row)
        if recipe is None or recipe_sha256(recipe) != result.recipe_sha256:
            msg = (
                f"--out: {folder} holds row {result.row} trained by another recipe; "
                f"allowed: the same base and --steps, or another folder"
            )
            raise StudyRefused(msg)


def recipe_sha256(recipe: Recipe) -> str:
    """What tells recipes apart."""
    return hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()
