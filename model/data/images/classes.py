"""Names of classes by index: a class index file, and the labels that data carry."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from model.data.errors import ClassesRefused, ExampleUnreadable

MAX_CLASSES = 1_000_000
_SYNSET = re.compile(r"(n\d{8})\s+(.*)")


@dataclass(frozen=True, slots=True)
class Classes:
    """Names in index order, each once; other names of a class by its name.

    `keys` are what data may say instead of an index, such as WordNet ids; one each, or none.
    """

    names: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    keys: tuple[str, ...] = ()

    def label(self, where: str, said: object) -> int:
        """The class index that the label of an example stands for.

        Args:
            where: names the example in messages.
            said: an index, its decimal digits, or a key.

        Raises:
            ExampleUnreadable: there is no label, it is no whole number, or no such class.
        """
        if isinstance(said, str) and said in self.keys:
            return self.keys.index(said)
        label = whole_label(where, said)
        if label >= len(self.names):
            reason = f"its label is {label}; allowed: 0 to {len(self.names) - 1}"
            raise ExampleUnreadable(where, reason)
        return label


NO_CLASSES = Classes(())
"""Of data whose examples have captions."""


def whole_label(where: str, said: object) -> int:
    """The non-negative whole number that a label says, its digits included.

    Raises:
        ExampleUnreadable: it says something else.
    """
    if isinstance(said, str) and re.fullmatch(r"\d{1,9}", said.strip(), re.ASCII):
        return int(said)
    if isinstance(said, int) and not isinstance(said, bool) and said >= 0:
        return said
    if said is None:
        raise ExampleUnreadable(where, "it has no label")
    reason = f"its label is {said!r:.40}; allowed: a whole number from 0"
    raise ExampleUnreadable(where, reason)


def numbered_classes(where: str, labels: Sequence[int]) -> Classes:
    """Classes named by their index, as many as the largest label asks for.

    Raises:
        ClassesRefused: there is no label, or one so large that it cannot be meant.
    """
    if not labels:
        raise ClassesRefused(where, "no example has a label")
    count = max(labels) + 1
    if count > MAX_CLASSES:
        reason = f"the largest label is {count - 1}; allowed: below {MAX_CLASSES}"
        raise ClassesRefused(where, reason)
    return Classes(tuple(map(str, range(count))))


def spoken_classes(lines: Sequence[str]) -> Classes:
    """Classes of lines that each hold a class's names, separated by commas."""
    return _named([("", _spoken(line)) for line in lines], ())


def folder_classes(where: str, folders: Sequence[str], index: Classes | None) -> Classes:
    """Classes of a tree of class folders, in the order of `folders`.

    An index with keys names each folder by its key; without keys it lists the folders' names in
    order. No index names the classes by their folders.

    Raises:
        ClassesRefused: the index has no entry for a folder, or another number of classes.
    """
    if index is None:
        return Classes(tuple(folders), keys=tuple(folders))
    if not index.keys:
        if len(index.names) != len(folders):
            reason = f"the class index has {len(index.names)}; there are {len(folders)} folders"
            raise ClassesRefused(where, reason)
        return Classes(index.names, index.aliases, tuple(folders))
    places = {key: place for place, key in enumerate(index.keys)}
    if missing := [folder for folder in folders if folder not in places]:
        reason = f"the class index has no entry for folder {missing[0]!r}"
        raise ClassesRefused(where, reason)
    names = tuple(index.names[places[folder]] for folder in folders)
    aliases = {name: index.aliases[name] for name in names if name in index.aliases}
    return Classes(names, aliases, tuple(folders))


def read_class_index(path: Path) -> Classes:
    """Read the names of classes from a file.

    JSON: ImageNet's {"0": ["n01440764", "tench"], ...}, a list of names, or the labels.json of a
    bundle. Other files: one class a line, its names separated by commas, after a WordNet id where
    there is one ("n01440764 tench, Tinca tinca").

    Raises:
        ClassesRefused: it is none of these, or names no class.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClassesRefused(str(path), str(error)) from error
    entries = _json_entries(path, text) if path.suffix == ".json" else _line_entries(text)
    spoken = [name for _, names in entries for name in names or [""]]
    if not spoken or not all(isinstance(name, str) and name for name in spoken):
        raise ClassesRefused(str(path), "every class needs a name, and there must be one class")
    keys = tuple(key for key, _ in entries if key)
    if keys and (len(keys) != len(entries) or len(set(keys)) != len(keys)):
        raise ClassesRefused(str(path), "either each class has a WordNet id of its own or none has")
    return _named(entries, keys)


_Entries = list[tuple[str, list[Any]]]
"""For each class its key, "" where it has none, and its names, which a file may have wrong."""


def _line_entries(text: str) -> _Entries:
    entries = []
    for line in filter(None, map(str.strip, text.splitlines())):
        synset = _SYNSET.fullmatch(line)
        key, names = synset.groups() if synset else ("", line)
        entries.append((key, _spoken(names)))
    return entries


def _spoken(line: str) -> list[str]:
    return [name.strip() for name in line.split(",")]


def _json_entries(path: Path, text: str) -> _Entries:
    try:
        document = json.loads(text)
        if isinstance(document, dict):
            return [_keyed(document[str(place)]) for place in range(len(document))]
        return [_listed(entry) for entry in document]
    except (KeyError, TypeError, ValueError) as error:
        reason = f"not a class index ({error}); allowed: a list of names, or an object by index"
        raise ClassesRefused(str(path), reason) from error


def _keyed(entry: list[str]) -> tuple[str, list[Any]]:
    key, *names = map(str, entry)
    return key, [name.replace("_", " ") for name in names]


def _listed(entry: object) -> tuple[str, list[Any]]:
    if isinstance(entry, str):
        return "", [entry]
    if isinstance(entry, dict):
        return str(entry.get("key", "")), [entry["name"], *entry.get("aliases", ())]
    msg = f"entry {entry!r:.60}"
    raise ValueError(msg)


def _named(entries: _Entries, keys: tuple[str, ...]) -> Classes:
    """Give each class a name of its own: one shared by several (ImageNet's cranes) is told apart.

    A name that several classes have is nobody's alias.
    """
    first = Counter(names[0] for _, names in entries)
    spoken = Counter(name for _, names in entries for name in set(names))
    names = tuple(
        own[0] if first[own[0]] == 1 else f"{own[0]} ({key or place})"
        for place, (key, own) in enumerate(entries)
    )
    aliases = {
        name: tuple(alias for alias in dict.fromkeys(own[1:]) if spoken[alias] == 1)
        for name, (_, own) in zip(names, entries, strict=True)
    }
    return Classes(names, {name: others for name, others in aliases.items() if others}, keys)
