"""Names of the classes that a user says, each its own."""

import json
from collections import Counter
from pathlib import Path

from export.checkpoint import CheckpointRefused
from model.data.images.classes import Classes, read_class_index


def read_labels(path: Path) -> Classes:
    """Read a class index (`model.data.images.classes.read_class_index`) whose names differ.

    Classes that have WordNet ids may share a name, as two of ImageNet's do: the ids tell them
    apart.

    Raises:
        CheckpointRefused: there is no such file, or two classes have one name; names it.
        ClassesRefused: it is no class index.
    """
    if not path.is_file():
        msg = f"argument --labels: got {path}: no such file; allowed: a file of class names"
        raise CheckpointRefused(msg)
    classes = read_class_index(path)
    if classes.keys:
        return classes
    counted = Counter(_first_names(path))
    if shared := [name for name, count in counted.items() if count > 1]:
        msg = (
            f"argument --labels: got {shared[0]!r} for {counted[shared[0]]} classes; "
            f"allowed: names that differ, or WordNet ids before them"
        )
        raise CheckpointRefused(msg)
    return classes


def _first_names(path: Path) -> list[str]:
    """The name of each class as the file spells it."""
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        entries = json.loads(text)
        return [entry if isinstance(entry, str) else entry["name"] for entry in entries]
    return [line.split(",")[0].strip() for line in text.splitlines() if line.strip()]
