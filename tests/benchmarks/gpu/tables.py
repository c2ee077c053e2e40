"""The figures of a section as a table: a line a measurement, whatever its name."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

COLUMNS = {
    "median_s": ("ms", 1e3),
    "images_per_s": ("images/s", 1),
    "bytes_per_s": ("TB/s", 1e-12),
    "of_copy": ("of copy", 1),
    "flop_per_s": ("TFLOP/s", 1e-12),
    "utilisation": ("of matmul", 1),
    "per_s": ("T/s", 1e-12),
    "error": ("error", 1),
    "forward": ("forward error", 1),
    "backward": ("backward error", 1),
    "largest": ("error", 1),
    "equal": ("equal images", 1),
    "psnr_db_worst": ("worst dB", 1),
}


def tables_of(name: str, section: Mapping[str, Any], *, rehearsal: bool) -> list[object]:
    """A table of what was measured, and lines of what was not and why."""
    state = section["state"] + (" - REHEARSAL on a CPU, no figures of a GPU" if rehearsal else "")
    lines = list(_lines("", section["figures"]))
    used = [key for key in COLUMNS if any(key in line for _, line in lines)]
    table = Table("measured", title=f"{name}: {state}")
    for key in used:
        table.add_column(COLUMNS[key][0], justify="right")
    for label, line in lines:
        table.add_row(label, *(_cell(key, line.get(key)) for key in used))
    faults = dict(section.get("errors", {}))
    faults |= {
        label: line["fault"] for label, line in _lines("", section["figures"]) if "fault" in line
    }
    if "why" in section:
        faults[name] = section["why"]
    said = [f"  {case}: {reason.splitlines()[0][:200]}" for case, reason in faults.items()]
    return [*([table] if lines else [f"{name}: {state}"]), *said]


def _lines(label: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping that holds figures, by the names on the way to it."""
    if "fault" in figures or any(isinstance(figures.get(key), int | float) for key in COLUMNS):
        yield label, figures
    for name, value in figures.items():
        inner = value if isinstance(value, list) else [value]
        for one in inner:
            if isinstance(one, dict):
                shown = (
                    f"{name} {one.get('rows', one.get('steps', ''))}" if len(inner) > 1 else name
                )
                yield from _lines(f"{label}: {shown}" if label else shown, one)


def _cell(key: str, value: object) -> str:
    return f"{value * COLUMNS[key][1]:.4g}" if isinstance(value, int | float) else ""
