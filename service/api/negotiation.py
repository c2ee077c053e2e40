"""Request headers that express preferences: Accept, If-None-Match and Prefer. Pure."""

import re
from collections.abc import Iterator

from service.images import FORMATS, MEDIA_TYPES, Format

_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def preferred_format(accept: str, default: Format) -> Format | None:
    """Choose an image format by an Accept header (RFC 9110, 12.5.1).

    Args:
        accept: the header; an empty one accepts everything.
        default: wins among formats that are equally welcome.

    Returns:
        The most welcome format, or None when none is acceptable.
    """
    ranges = list(_media_ranges(accept))
    if not ranges:
        return default
    order = (default, *(f for f in FORMATS if f != default))
    best = max(order, key=lambda f: _welcome(MEDIA_TYPES[f], ranges))
    return best if _welcome(MEDIA_TYPES[best], ranges) > 0 else None


def matches_etag(if_none_match: str, etag: str) -> bool:
    """True when an If-None-Match header names the tag, compared weakly (RFC 9110, 13.1.2)."""
    if if_none_match.strip() == "*":
        return True
    return etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))


def preferred_wait_s(prefer: str) -> int | None:
    """Seconds of a `wait` preference (RFC 7240); None where there is none that makes sense."""
    for preference in re.split(r"[,;]", prefer):
        name, _, value = preference.partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "wait" and re.fullmatch(r"[0-9]{1,9}", seconds):
            return int(seconds)
    return None


def _media_ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Each well-formed media range with its q-value; parameters other than q mean nothing here."""
    for element in accept.split(","):
        media, *parameters = (part.strip().lower() for part in element.split(";"))
        q_values = [p.partition("=")[2].strip() for p in parameters if p.startswith("q")]
        if "/" in media and all(map(_QUALITY.fullmatch, q_values)):
            yield media, float(q_values[0]) if q_values else 1.0


def _welcome(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The q-value of the most specific range that covers the type; 0 where none does."""
    for pattern in (media_type, "image/*", "*/*"):
        for media, quality in ranges:
            if media == pattern:
                return quality
    return 0.0
