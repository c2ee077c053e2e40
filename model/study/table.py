"""The table of a study: in a terminal, and in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.table import Table

from model.study.results import Result, Study, Subject


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, and what stands in it for a row."""

    heading: str
    text: Callable[[Result], str]
    align: str = "---:"
    page_only: bool = False  # a terminal is narrow


_ROW = Column("row", lambda result: result.row, "---")
_MEANING = Column("what", lambda result: result.meaning, "---")
_PARAMETERS = Column("parameters", lambda result: f"{result.parameters:,}")
_MACS = Column("MMAC", lambda result: f"{result.macs / 1e6:.1f}")
_LOSS = Column("loss", lambda result: f"{result.loss:.4f}")
_DISTANCE = Column("small-feature Fréchet", lambda result: f"{result.small_feature_frechet:.2f}")


def _accuracy(heading: str) -> Column:
    return Column(heading, lambda result: f"{100 * result.class_accuracy:.1f} %")


def _table(heading: str) -> Column:
    return Column(heading, lambda result: result.table, "---")


def _call(result: Result) -> str:
    return "" if result.call_ms is None else f"{result.call_ms:.1f}"


def _minutes(result: Result) -> str:
    return f"{result.train_seconds / 60:.1f}"


def _lower(result: Result) -> str:
    """Accuracy and distance of each lower scale, low to high."""
    return ", ".join(
        f"{scale.side} px: {100 * scale.class_accuracy:.1f} %, {scale.small_feature_frechet:.2f}"
        for scale in result.lower
    )


def _disagreement(result: Result) -> str:
    return ", ".join(f"{gap:.3f}" for gap in result.disagreement)


COLUMNS: Mapping[Subject, Sequence[Column]] = {
    Subject.DIMR: (
        _ROW,
        _MEANING,
        _table("paper"),
        _PARAMETERS,
        _MACS,
        _LOSS,
        _accuracy("class accuracy"),
        _DISTANCE,
    ),
    Subject.LAYERED: (
        _ROW,
        replace(_MEANING, page_only=True),
        replace(_table("claim"), page_only=True),
        replace(_PARAMETERS, page_only=True),
        _MACS,
        Column("ms a call", _call),
        Column("minutes", _minutes, page_only=True),
        _LOSS,
        _accuracy("caption accuracy"),
        _DISTANCE,
        Column("lower scales", _lower, "---"),
        Column("disagreement", _disagreement),
    ),
}


def terminal_table(study: Study) -> Table:
    """The table for a terminal."""
    columns = [column for column in COLUMNS[study.subject] if not column.page_only]
    table = Table(*(column.heading for column in columns), title=study.base)
    for result in study.results:
        table.add_row(*(column.text(result) for column in columns))
    return table


def markdown(study: Study) -> str:
    """The table with what one must know to read it."""
    columns = COLUMNS[study.subject]
    lines = [
        f"Base {study.base}; {study.date}; {study.machine}, {study.threads} thread(s), "
        f"torch {study.torch}; `{study.command}`.",
        "",
        f"The judge is right on {100 * study.judge_real_accuracy:.1f} % of the real images.",
        "",
        _line(column.heading for column in columns),
        "|" + "|".join(column.align for column in columns) + "|",
    ]
    lines += [_line(column.text(result) for column in columns) for result in study.results]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
