"""What a study found: a JSON file that grows row by row, and a table of it."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from model.sampling.pictures import write_whole
from model.specs.base import Spec

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


class Result(Spec):
    """One trained row."""

    row: str
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
    judge_real_accuracy: float = Field(description="the judge on the training images themselves")
    results: tuple[Result, ...] = ()


def write_study(folder: Path, study: Study) -> None:
    """Write results.json and results.md, each whole."""
    write_whole(folder / "results.json", (study.model_dump_json(indent=1) + "\n").encode())
    write_whole(folder / "results.md", markdown(study).encode())


def read_results(folder: Path) -> tuple[Result, ...]:
    """Rows that an earlier call finished; none where there was no call.

    Raises:
        ValueError: results.json is not of this version.
    """
    path = folder / "results.json"
    if not path.is_file():
        return ()
    return Study.model_validate(json.loads(path.read_text("utf-8"))).results


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
