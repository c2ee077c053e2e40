"""`index.json`: which tile of which sheet shows what."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.data.errors import SheetsUnreadable

FORMAT = 1
INDEX_NAME = "index.json"


@dataclass(frozen=True, slots=True)
class Concept:
    """One emoji whatever its style; `key` is its code points, `name` is unique in a set."""

    key: str
    name: str
    group: str
    subgroup: str
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One lossless picture of tiles in one style.

    Tile i shows concept `keys[i]` at row i // columns and column i % columns.
    """

    style: str
    file: str
    sha256: str
    columns: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """A whole set; `tile` is the side of every tile in pixels."""

    tile: int
    concepts: tuple[Concept, ...]
    sheets: tuple[Sheet, ...]

    @property
    def styles(self) -> tuple[str, ...]:
        """Every style once, in the order of the sheets."""
        return tuple(dict.fromkeys(sheet.style for sheet in self.sheets))


def dump_index(index: Index) -> str:
    """The JSON text of an index; equal indices give equal text."""
    document = {"format": FORMAT, **asdict(index)}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def read_index(folder: Path) -> Index:
    """Read the index of a shipped set.

    Raises:
        SheetsUnreadable: it is missing, is no JSON, or has another format than this code's.
    """
    path = folder / INDEX_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SheetsUnreadable(path, str(error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SheetsUnreadable(path, f"field 'format' is not {FORMAT}")
    try:
        return _parse(document)
    except (KeyError, TypeError) as error:
        raise SheetsUnreadable(path, f"field {error} is missing or malformed") from error


def _parse(document: dict[str, Any]) -> Index:
    return Index(
        tile=document["tile"],
        concepts=tuple(
            Concept(**{**concept, "captions": tuple(concept["captions"])})
            for concept in document["concepts"]
        ),
        sheets=tuple(
            Sheet(**{**sheet, "keys": tuple(sheet["keys"])}) for sheet in document["sheets"]
        ),
    )
