"""The family table: what each variant of the paper, or the network of any recipe, costs."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import NamedTuple

from model.denoisers.counting import Count

VARIANTS = ("dimr-m3r-64", "dimr-l3r-64", "dimr-xl2r-256", "dimr-g2r-256", "dimr-xl3r-512")

_GIGA = 1e9
_NONE = "-"


@dataclass(frozen=True, slots=True)
class Member:
    """A recipe's network, counted."""

    id: str
    count: Count


class Sheet(NamedTuple):
    """A table as text; the first `labels` columns are words, the others numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int


def family_sheet(members: Iterable[Member]) -> Sheet:
    """One row a network."""
    header = ("recipe", "parameters", "GMACs", "GMACs by stage", "GFLOPs")
    rows = (
        (
            member.id,
            f"{member.count.parameters:,}",
            _giga(member.count.macs),
            " / ".join(map(_giga, member.count.stage_macs)) or _NONE,
            _giga(2 * member.count.macs),
        )
        for member in members
    )
    return Sheet("one forward pass of one example", header, tuple(rows), labels=1)


def parts_sheet(member: Member) -> Sheet:
    """One row a part of one network."""
    header = ("stage", "part", "parameters", "GMACs")
    rows = [
        (
            _NONE if part.stage is None else str(part.stage),
            part.name,
            f"{part.parameters:,}",
            _giga(part.macs) if part.macs else _NONE,
        )
        for part in member.count.parts
    ]
    rows.append(("", "total", f"{member.count.parameters:,}", _giga(member.count.macs)))
    return Sheet(member.id, header, tuple(rows), labels=2)


def ratio_line(first: Member, second: Member) -> str:
    """What the first network costs, as a share of the second."""
    macs = first.count.macs / second.count.macs
    parameters = first.count.parameters / second.count.parameters
    return f"{first.id} / {second.id}: {macs:.4f} of the MACs, {parameters:.4f} of the parameters"


def family_json(members: Iterable[Member]) -> str:
    """Exact numbers of all networks, parts included."""
    found = [
        {
            "id": member.id,
            "parameters": member.count.parameters,
            "macs": member.count.macs,
            "stage_macs": member.count.stage_macs,
            "parts": [asdict(part) for part in member.count.parts],
        }
        for member in members
    ]
    return json.dumps({"networks": found}, indent=2) + "\n"


def _giga(number: int) -> str:
    return f"{number / _GIGA:.2f}"
