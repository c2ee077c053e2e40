"""A set small enough to reason about: two concepts in two styles, plus one that is in only one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model.data.emoji import Sources, Style, key_names, publish
from model.data.icons import IconSet


def square(colour: str) -> str:
    return f'<path fill="{colour}" d="M0 0h8v8H0z"/>'


def record(unified: str, name: str, *, category: str = "Food & Drink", order: int = 0) -> Any:
    return {
        "unified": unified,
        "name": name,
        "short_names": [name.lower().replace(" ", "_")],
        "category": category,
        "subcategory": "food-fruit",
        "sort_order": order,
    }


@pytest.fixture
def records() -> list[Mapping[str, Any]]:
    return [
        record("1F34F", "GREEN APPLE", order=2),
        record("1F34E", "RED APPLE", order=1),
        record("1F34B", "LEMON", order=3),
        record("26A0-FE0F", "WARNING SIGN", category="Symbols", order=0),
    ]


@pytest.fixture
def sources(records: list[Mapping[str, Any]]) -> Sources:
    left: Mapping[str, Any] = {
        "width": 8,
        "height": 8,
        "icons": {
            "red-apple": {"body": square("#f00")},
            "green-apple": {"body": square("#0f0")},
            "lemon": {"body": square("#ff0")},
            "warning": {"body": square("#000")},
        },
    }
    right: Mapping[str, Any] = {
        "width": 8,
        "height": 8,
        "icons": {"red-apple": {"body": square("#800")}, "green": {"body": square("#080")}},
        "aliases": {"green-apple": {"parent": "green"}},
    }
    chars = {"1f34e": "red-apple", "1f34f": "green-apple", "1f34b": "lemon", "26a0": "warning"}
    return Sources(
        styles=(
            Style("left", IconSet(left), key_names(chars)),
            Style("right", IconSet(right), key_names(chars)),
        ),
        records=records,
    )


@pytest.fixture
def tiny_set(sources: Sources, tmp_path: Path) -> Path:
    """A published set of 16 px tiles."""
    publish(sources, tmp_path / "tiny", size=16, progress=lambda _style, _total: None)
    return tmp_path / "tiny"
