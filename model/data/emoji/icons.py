"""Icon sets in Iconify's JSON form: names, aliases and markup."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.data.errors import IconUnusable

_TRANSFORMS = frozenset({"hFlip", "vFlip", "rotate"})
_ALIAS_DEPTH = 8


def codepoint_key(sequence: str) -> str:
    """The form in which every source spells the same emoji alike.

    Args:
        sequence: hexadecimal code points joined by "-", in either case.

    Returns:
        Lower case, without variation selectors (fe0f) and without leading zeros.
    """
    points = (point.lstrip("0") for point in sequence.lower().split("-"))
    return "-".join(point for point in points if point != "fe0f")


@dataclass(frozen=True, slots=True)
class IconSet:
    """One `icons.json` document; aliases are resolved when an icon is read."""

    document: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.document["icons"] or name in self.document.get("aliases", {})

    def svg(self, name: str) -> str:
        """Complete markup of one icon, its viewBox enlarged to a square about the same centre.

        Raises:
            IconUnusable: no such icon, an alias that leads nowhere, or one that turns its parent.
        """
        icon = self._resolve(name)
        left, top = icon.get("left", 0), icon.get("top", 0)
        width = icon.get("width", self.document.get("width", 16))
        height = icon.get("height", self.document.get("height", 16))
        side = max(width, height)
        left, top = left - (side - width) / 2, top - (side - height) / 2
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left:g} {top:g} {side:g} {side:g}" width="{side:g}" height="{side:g}">'
            f"{icon['body']}</svg>"
        )

    def _resolve(self, name: str) -> Mapping[str, Any]:
        """The icon's own fields over those of the icons it is an alias of."""
        overrides: dict[str, Any] = {}
        target = name
        for _ in range(_ALIAS_DEPTH):
            if target in self.document["icons"]:
                icon = {**self.document["icons"][target], **overrides}
                if turned := _TRANSFORMS & icon.keys():
                    raise IconUnusable(name, f"it needs {', '.join(sorted(turned))}")
                return icon
            if target not in self.document.get("aliases", {}):
                raise IconUnusable(name, f"the set has no {target!r}")
            alias = self.document["aliases"][target]
            overrides = {**alias, **overrides}
            target = alias["parent"]
        raise IconUnusable(name, f"more than {_ALIAS_DEPTH} aliases deep")
