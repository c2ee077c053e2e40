"""Pieces of a model card in Markdown."""

import textwrap
from collections.abc import Iterable, Sequence

from model.bundle import Bundle

WIDTH = 100


def filled(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def bullets(points: Iterable[str]) -> str:
    """A list."""
    return "\n".join(textwrap.fill(f"- {point}", WIDTH, subsequent_indent="  ") for point in points)


def table(lines: Sequence[Sequence[str]]) -> str:
    """A table of a heading and rows; nothing where it has no rows."""
    heading, *found = lines
    if not found:
        return ""
    ruled = [heading, ["---"] * len(heading), *found]
    return "\n".join("| " + " | ".join(line) + " |" for line in ruled)


def sides(bundle: Bundle) -> str:
    """The sizes of a bundle's images."""
    *lower, last = (f"{size} x {size}" for size in bundle.manifest.sizes)
    return f"{', '.join(lower)} or {last}" if lower else last
