"""The summary of a report, for a terminal."""

from rich.console import Console
from rich.table import Table

from model.evaluation.prompt_rows import combination_rows, style_line, unknown_rows, wording_rows
from model.evaluation.report import PromptMeasures, Report, percent, rows


def print_summary(console: Console, report: Report) -> None:
    """Show what was found, as tables."""
    measures = report.measures
    table = Table("measure", "samples", "real images", "ratio", title=report.bundle_id)
    for row in rows(measures):
        table.add_row(*row)
    folds = Table("style held out", "samples, top 1", "real images of it, top 1")
    for fold in measures.folds:
        folds.add_row(fold.held_out, percent(fold.samples.top1), percent(fold.real.top1))
    console.print(table, folds)
    if measures.prompts is not None:
        _print_prompts(console, measures.prompts)


def _print_prompts(console: Console, prompts: PromptMeasures) -> None:
    for lines in (wording_rows, combination_rows, unknown_rows):
        heading, *found = lines(prompts)
        if found:
            table = Table(*heading)
            for line in found:
                table.add_row(*line)
            console.print(table)
    console.print(style_line(prompts.style), markup=False, highlight=False, soft_wrap=True)
