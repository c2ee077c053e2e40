"""Captions alone, to sample from: of a list of prompts or of captioned images."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from model.data.errors import ExampleUnreadable, LocationRefused
from model.data.images.annotations import json_captions, text_captions
from model.data.images.bad import BadExamples
from model.data.images.hub import HubStream
from model.data.images.locations import is_shard, open_captioned_records
from model.data.images.streams import ShardStream
from model.specs.data import OnBad


def read_captions(location: str) -> list[str]:
    """One caption of each example, in the order of the data or of a stream's first pass.

    Args:
        location: a .txt of one caption a line, where blank lines are none; a .jsonl of objects with
            "captions", "caption" or "text"; or captioned images, see
            `model.data.images.syntax.CAPTIONED`. Of several captions the first is taken.

    Raises:
        LocationRefused: there is nothing of the kind, or no caption in it.
        ExampleUnreadable: a caption is missing, empty, too long or no Unicode; names its line.
        ExtraMissing: a package that this location needs is not installed.
    """
    path = Path(location).expanduser()
    reader = _READERS.get(path.suffix)
    if reader is None and path.is_file() and not is_shard(path):
        reason = f"its suffix is {path.suffix!r}; allowed: {', '.join(_READERS)} or .tar"
        raise LocationRefused(location, reason)
    captions = list(_of_images(location) if reader is None else _of_lines(location, path, reader))
    if not captions:
        raise LocationRefused(location, "it holds no caption")
    return captions


def _of_lines(
    location: str, path: Path, reader: Callable[[str, bytes], tuple[str, ...]]
) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield reader(f"{path}:{number}", line)[0]
    except OSError as error:
        raise LocationRefused(location, error.strerror or str(error)) from error


def _of_images(location: str) -> Iterator[str]:
    records = open_captioned_records(location, BadExamples(OnBad.STOP))
    if isinstance(records, ShardStream | HubStream):
        for record in records.read(epoch=0, share=0, shares=1):
            if isinstance(record, ExampleUnreadable):
                raise record
            yield record.captions[0]
        return
    for index in range(len(records)):
        yield records[index].captions[0]


_READERS: Mapping[str, Callable[[str, bytes], tuple[str, ...]]] = MappingProxyType(
    {".txt": text_captions, ".jsonl": json_captions}
)
"""Of a line, by the suffix of the file."""
