"""Classes and prompts by the names that people type and that files get."""

import re
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from model.specs.manifest import Label

MAX_STEM_BYTES = 120  # of the 255 that a file name may have; index and seed follow


class ClassUnknown(ValueError):
    """No class has this name; the message suggests the nearest ones."""


def find_class(labels: Sequence[Label], wanted: str) -> int:
    """Index of the class of this name or alias, ignoring case and outer or doubled blanks.

    Where several share it, a name goes before an alias and a lower index before a higher one.

    Raises:
        ClassUnknown: there is none.
    """
    named = [(label.name, index) for index, label in enumerate(labels)]
    named += [(alias, index) for index, label in enumerate(labels) for alias in label.aliases]
    indices = {_folded(name): index for name, index in reversed(named)}
    found = indices.get(_folded(wanted))
    if found is None:
        near = get_close_matches(_folded(wanted), indices, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        msg = f"got {wanted!r}; allowed: one of {len(labels)} classes ({hint}--list shows all)"
        raise ClassUnknown(msg)
    return found


def file_stems(names: Sequence[str], *, nameless: str) -> tuple[str, ...]:
    """A part of a file name for each name, all different and fit for any file system.

    Names that would share one get their index: "crane-134". One of no letter or digit becomes
    `nameless`; one too long for a file system is cut.
    """
    stems = [_slug(name) or nameless for name in names]
    while len(counts := Counter(stems)) < len(stems):  # an index may meet a name that ends so
        stems = [
            f"{stem}-{index}" if counts[stem] > 1 else stem for index, stem in enumerate(stems)
        ]
    return tuple(stems)


def _slug(name: str) -> str:
    words = re.sub(r"[^\w.]+", "-", _folded(name)).strip("-.")
    return words.encode()[:MAX_STEM_BYTES].decode(errors="ignore").strip("-.")


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())
