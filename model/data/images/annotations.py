"""What data say about a picture beside it: a class, or captions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from model.data.errors import ExampleUnreadable
from model.data.images.classes import NO_CLASSES, Classes
from model.data.images.decoding import Record

MAX_CAPTION = 10_000  # characters
CAPTION_SUFFIXES = ("txt", "json")
CAPTION_FIELDS = ("captions", "caption", "text")
"""Where a JSON object or a table has its captions; the first of these that it has counts."""


class Annotator(Protocol):
    """Makes records of pictures and what stands beside them; raises `ExampleUnreadable`."""

    @property
    def classes(self) -> Classes:
        """What labels index; none where pictures have captions."""

    def of_members(self, where: str, picture: bytes, members: Mapping[str, bytes]) -> Record:
        """Read the members of a shard that share a stem, by suffix."""

    def of_cell(self, where: str, picture: bytes, cell: object) -> Record:
        """Read a cell of the column of a table."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Pictures with a class each: a .cls member, or a .json one with "label" or "cls"."""

    classes: Classes

    def of_members(self, where: str, picture: bytes, members: Mapping[str, bytes]) -> Record:
        """Read the label among the members of a shard."""
        return self.of_cell(where, picture, said_label(where, members))

    def of_cell(self, where: str, picture: bytes, cell: object) -> Record:
        """Read a cell that is a label."""
        return Record(where, picture, self.classes.label(where, cell))


@dataclass(frozen=True, slots=True)
class Captions:
    """Pictures with captions: a .txt member, or a .json one with one of `CAPTION_FIELDS`."""

    classes: Classes = NO_CLASSES

    def of_members(self, where: str, picture: bytes, members: Mapping[str, bytes]) -> Record:
        """Read the captions among the members of a shard."""
        suffix = caption_suffix(where, members)
        read = text_captions if suffix == "txt" else json_captions
        return Record(where, picture, captions=read(where, members[suffix]))

    def of_cell(self, where: str, picture: bytes, cell: object) -> Record:
        """Read a cell that is a caption or a list of them."""
        return Record(where, picture, captions=checked_captions(where, cell))


def said_label(where: str, contents: Mapping[str, bytes]) -> object:
    """What the label members of an example say, by suffix; None where there is no label.

    Raises:
        ExampleUnreadable: the .json is none.
    """
    if "cls" in contents:
        return contents["cls"].decode("utf-8", "replace").strip()
    if "json" not in contents:
        return None
    document = parsed_json(where, contents["json"])
    if not isinstance(document, dict):
        return None
    return document.get("label", document.get("cls"))


def caption_suffix(where: str, members: Mapping[str, object]) -> str:
    """The suffix of the member that has the captions: .txt goes before .json.

    Raises:
        ExampleUnreadable: there is neither.
    """
    for suffix in CAPTION_SUFFIXES:
        if suffix in members:
            return suffix
    raise ExampleUnreadable(where, "it has no caption; allowed: a .txt or a .json beside it")


def text_captions(where: str, content: bytes) -> tuple[str, ...]:
    """The captions of a text, one a line; blank lines are none.

    Raises:
        ExampleUnreadable: it is no UTF-8, has no caption, or one that is too long.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExampleUnreadable(where, f"its caption is no UTF-8: {error}") from error
    return checked_captions(where, [line for line in text.split("\n") if line.strip()])


def json_captions(where: str, content: bytes) -> tuple[str, ...]:
    """The captions of a JSON object.

    Raises:
        ExampleUnreadable: it is none, or has no caption that can be used.
    """
    return field_captions(where, parsed_json(where, content))


def field_captions(where: str, document: object) -> tuple[str, ...]:
    """The captions of an object: the first of `CAPTION_FIELDS` that it has; errors as above."""
    fields = document if isinstance(document, dict) else {}
    for name in CAPTION_FIELDS:
        if name in fields:
            return checked_captions(where, fields[name])
    reason = f"it has no caption; allowed: an object with one of {', '.join(CAPTION_FIELDS)}"
    raise ExampleUnreadable(where, reason)


def parsed_json(where: str, content: bytes) -> object:
    """What a JSON document says; raises `ExampleUnreadable` where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ExampleUnreadable(where, f"its .json cannot be read: {error}") from error


def checked_captions(where: str, said: object) -> tuple[str, ...]:
    """One caption or a list of them, without the blanks around each.

    Args:
        where: names the example in messages.
        said: what the data say.

    Raises:
        ExampleUnreadable: there is none, or one is no text, empty, too long or no Unicode.
    """
    captions = [said] if isinstance(said, str) else said
    if captions is None or captions == []:
        raise ExampleUnreadable(where, "it has no caption")
    if not isinstance(captions, list):
        reason = f"its caption is {said!r:.40}; allowed: a text or a list of texts"
        raise ExampleUnreadable(where, reason)
    return tuple(_checked(where, caption) for caption in captions)


def _checked(where: str, caption: object) -> str:
    if not isinstance(caption, str):
        raise ExampleUnreadable(where, f"a caption is {caption!r:.40}; allowed: a text")
    stripped = caption.strip()
    if not stripped:
        raise ExampleUnreadable(where, "a caption is empty; allowed: at least one character")
    if len(stripped) > MAX_CAPTION:
        reason = f"a caption has {len(stripped)} characters; allowed: at most {MAX_CAPTION}"
        raise ExampleUnreadable(where, reason)
    if not stripped.isascii() and any("\ud800" <= letter <= "\udfff" for letter in stripped):
        raise ExampleUnreadable(where, "a caption is no Unicode text: it has half of a character")
    return stripped
