"""Tables and plots of a study."""

import io

import pytest
from PIL import Image
from rich.console import Console

from model.study.plots import plots
from model.study.results import Result, ScaleResult, Study, Subject
from model.study.table import markdown, terminal_table


@pytest.fixture
def study():
    """Two rows, the second of one scale."""

    def result(row, **more):
        return Result(
            row=row,
            recipe_sha256="0",
            meaning="a meaning",
            table="a claim",
            parameters=1234567,
            macs=88_600_000,
            images_seen=10,
            train_seconds=90.0,
            loss=0.12345,
            samples=8,
            class_accuracy=0.75,
            small_feature_frechet=1.5,
            **more,
        )

    low = ScaleResult(side=8, judge_sha256="0", class_accuracy=0.5, small_feature_frechet=2.25)
    return Study(
        subject=Subject.LAYERED,
        base="some-base",
        command="python -m model.study layered",
        date="2026-11-21",
        machine="a machine",
        torch="2",
        threads=1,
        samples_per_class=4,
        judge_sha256="0",
        judge_real_accuracy=1.0,
        results=(
            result("layered", lower=(low,), disagreement=(0.125,), call_ms=7.04),
            result("single"),
        ),
    )


def test_the_page_has_a_line_a_row_with_lower_scales_and_times(study):
    lines = markdown(study).splitlines()
    assert "`python -m model.study layered`" in lines[0]
    assert lines[-2] == (
        "| layered | a meaning | a claim | 1,234,567 | 88.6 | 7.0 | 1.5 | 0.1235 | 75.0 % | 1.50 "
        "| 8 px: 50.0 %, 2.25 | 0.125 |"
    )
    assert lines[-1].endswith("| 88.6 |  | 1.5 | 0.1235 | 75.0 % | 1.50 |  |  |")


def test_a_terminal_shows_what_fits(study):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal_table(study))
    shown = console.export_text()
    assert "layered" in shown
    assert "75.0 %" in shown
    assert "a meaning" not in shown


def test_every_study_has_its_plots(study):
    for subject in Subject:
        found = plots(study.model_copy(update={"subject": subject}))
        assert set(found) == {"distance-by-cost.png", "accuracy-by-scale.png"}
        for content in found.values():
            with Image.open(io.BytesIO(content)) as image:
                assert image.format == "PNG"
