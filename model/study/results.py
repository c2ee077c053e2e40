"""What a study found: a JSON file that grows row by row, and a table of it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from model.files import write_whole
from model.specs.base import Spec
from model.specs.recipe import Recipe

HEADINGS = (
    "row",
    "what",
    "paper",
    "parameters",
    "MMAC",
    "loss",
    "class accuracy",
    "small-feature Fréchet",
)


class StudyRefused(ValueError):
    """A folder holds results that do not belong into one table with those asked for."""


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


class Study(Spec):
    """All rows so far, and what they have in common."""

    format_version: int = 1
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


def write_study(folder: Path, study: Study) -> None:
    """Write results.json and results.md, each whole."""
    write_whole(folder / "results.json", (study.model_dump_json(indent=1) + "\n").encode())
    write_whole(folder / "results.md", markdown(study).encode())


def read_study(folder: Path) -> Study | None:
    """What an earlier call finished; None where there was no call.

    Raises:
        StudyRefused: results.json is not of this version.
    """
    path = folder / "results.json"
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
    for field in ("base", "samples_per_class", "judge_sha256"):
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


def cells(result: Result) -> Sequence[str]:
    """A row of the table, as text."""
    return (
        result.row,
        result.meaning,
        result.table,
        f"{result.parameters:,}",
        f"{result.macs / 1e6:.1f}",
        f"{result.loss:.4f}",
        f"{100 * result.class_accuracy:.1f} %",
        f"{result.small_feature_frechet:.2f}",
    )


def markdown(study: Study) -> str:
    """The table with what one must know to read it."""
    lines = [
        f"Base {study.base}; {study.date}; {study.machine}, {study.threads} thread(s), "
        f"torch {study.torch}; `{study.command}`.",
        "",
        f"The judge is right on {100 * study.judge_real_accuracy:.1f} % of the real images.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + "---|" * 3 + "---:|" * (len(HEADINGS) - 3),
    ]
    lines += ["| " + " | ".join(cells(result)) + " |" for result in study.results]
    return "\n".join(lines) + "\n"
