"""What the location of a data set means, and opening it."""

import glob
from collections.abc import Sequence
from pathlib import Path

from model.data.errors import ClassesRefused, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes, read_class_index
from model.data.images.extras import import_extra
from model.data.images.folder import FolderRecords
from model.data.images.hub import HubLocation, HubRecords, HubStream
from model.data.images.shards import ShardRecords
from model.data.images.sources import ImageSource, ImageStream
from model.data.images.streams import ShardStream
from model.data.source import Source, Stream
from model.specs.data import ImagesData

HUB, HUB_STREAM = "hf:", "hf-stream:"


def open_images(
    location: str, spec: ImagesData, *, class_index: Path | None = None
) -> Source | Stream:
    """Open labelled images as crops of `spec.size`, held to `spec.on_bad`.

    Args:
        location: see `model.data.images.syntax.LOCATIONS`.
        spec: size and policy; flips are the reader's.
        class_index: names of the classes, see `read_class_index`; None takes those of the data.

    Raises:
        LocationRefused: there is nothing of the kind.
        ClassesRefused: the class index cannot be read, is missing or does not fit.
        ExampleUnreadable: something cannot be used, and the policy is to stop.
        ExtraMissing: a package that this location needs is not installed.
    """
    bad = BadExamples(spec.on_bad)
    records = open_records(location, bad, class_index=class_index)
    if isinstance(records, ShardStream | HubStream):
        return ImageStream(records, spec.size, bad)
    return ImageSource(records, spec.size, bad)


def open_records(
    location: str, bad: BadExamples, *, class_index: Path | None = None
) -> FolderRecords | ShardRecords | HubRecords | ShardStream | HubStream:
    """Open labelled pictures that are not decoded; arguments and errors as for `open_images`."""
    index = None if class_index is None else read_class_index(class_index)
    if location.startswith(HUB_STREAM):
        place = HubLocation.parse(location.removeprefix(HUB_STREAM))
        return HubStream(location, place, bad, index)
    if location.startswith(HUB):
        return HubRecords(location, HubLocation.parse(location.removeprefix(HUB)), index)
    if location.startswith("pipe:") or "://" in location:
        return _stream(location, _expand(location), bad, index)
    path = Path(location).expanduser()
    if path.is_dir():
        shards = sorted(path.glob("*.tar"))
        return (
            ShardRecords(location, shards, bad, index)
            if shards
            else FolderRecords(path, bad, index)
        )
    return _local_shards(location, str(path), bad, index)


def _local_shards(
    location: str, pattern: str, bad: BadExamples, index: Classes | None
) -> ShardRecords | ShardStream:
    named = _expand(pattern) if "{" in pattern else [pattern]
    paths = [Path(p) for name in named for p in (sorted(glob.glob(name)) or [name])]  # noqa: PTH207
    if missing := [path for path in paths if not path.is_file()]:
        raise LocationRefused(location, f"there is no {missing[0]}")
    if all(path.suffix == ".tar" for path in paths):
        return ShardRecords(location, paths, bad, index)
    if others := [path for path in paths if ".tar" not in path.suffixes and path.suffix != ".tgz"]:
        raise LocationRefused(location, f"{others[0]} is no .tar shard")
    return _stream(location, [str(path) for path in paths], bad, index)


def _stream(
    location: str, urls: Sequence[str], bad: BadExamples, index: Classes | None
) -> ShardStream:
    if index is None:
        reason = "shards that are read as a stream need a class index that names them"
        raise ClassesRefused(location, reason)
    return ShardStream(location, urls, bad, index)


def _expand(pattern: str) -> list[str]:
    """Shards named by braces, "{000..127}", and joined by "::"."""
    urls: list[str] = import_extra("webdataset.shardlists").expand_urls(pattern)
    return urls
