"""What the location of a data set means, and opening it."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from model.data.errors import LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.captioned import Captioned
from model.data.images.classes import read_class_index
from model.data.images.extras import import_extra
from model.data.images.folder import FolderRecords
from model.data.images.hub import HubRecords, HubStream
from model.data.images.labelled import Labelled
from model.data.images.shards import CaptionedShardRecords, ShardRecords
from model.data.images.sidecars import SidecarRecords
from model.data.images.sources import ImageSource, ImageStream, Records
from model.data.images.streams import ShardStream
from model.data.images.tables import HubLocation
from model.data.source import Source, Stream
from model.specs.data import CaptionedImagesData, ImagesData

HUB, HUB_STREAM = "hf:", "hf-stream:"

F_co = TypeVar("F_co", covariant=True)
S_co = TypeVar("S_co", covariant=True)


class Opener(Protocol[F_co, S_co]):
    """Opens pictures with what is wanted beside them."""

    def folder(self, folder: Path) -> F_co:
        """Open a folder without shards."""

    def shards(self, location: str, shards: Sequence[Path]) -> S_co:
        """Open local shards by index."""

    def stream(self, location: str, urls: Sequence[str]) -> ShardStream:
        """Open shards that are read from their beginning."""

    def hub(self, location: str, place: HubLocation) -> HubRecords:
        """Load a Hugging Face data set."""

    def hub_stream(self, location: str, place: HubLocation) -> HubStream:
        """Open a Hugging Face data set as a stream."""


def open_images(
    location: str, spec: ImagesData | CaptionedImagesData, *, class_index: Path | None = None
) -> Source | Stream:
    """Open images as crops of `spec.size`, held to `spec.on_bad`.

    Args:
        location: see `model.data.images.syntax`.
        spec: what stands beside the images, their size and the policy; flips are the reader's.
        class_index: names of the classes of labelled images, see `read_class_index`; None takes
            those of the data.

    Raises:
        LocationRefused: there is nothing of the kind.
        ClassesRefused: the class index cannot be read, is missing or does not fit.
        ExampleUnreadable: something cannot be used, and the policy is to stop.
        ExtraMissing: a package that this location needs is not installed.
    """
    bad = BadExamples(spec.on_bad)
    records: Records | ShardStream | HubStream
    match spec:
        case ImagesData():
            records = open_records(location, bad, class_index=class_index)
        case CaptionedImagesData():
            records = open_captioned_records(location, bad)
    if isinstance(records, ShardStream | HubStream):
        return ImageStream(records, spec.size, bad)
    return ImageSource(records, spec.size, bad)


def open_records(
    location: str, bad: BadExamples, *, class_index: Path | None = None
) -> FolderRecords | ShardRecords | HubRecords | ShardStream | HubStream:
    """Open labelled pictures that are not decoded; arguments and errors as for `open_images`."""
    index = None if class_index is None else read_class_index(class_index)
    return _open(location, Labelled(bad, index))


def open_captioned_records(
    location: str, bad: BadExamples
) -> SidecarRecords | CaptionedShardRecords | HubRecords | ShardStream | HubStream:
    """Open captioned pictures that are not decoded; arguments and errors as for `open_images`."""
    return _open(location, Captioned(bad))


def _open(
    location: str, opener: Opener[F_co, S_co]
) -> F_co | S_co | HubRecords | ShardStream | HubStream:
    if location.startswith(HUB_STREAM):
        place = HubLocation.parse(location.removeprefix(HUB_STREAM))
        return opener.hub_stream(location, place)
    if location.startswith(HUB):
        return opener.hub(location, HubLocation.parse(location.removeprefix(HUB)))
    if location.startswith("pipe:") or "://" in location:
        return opener.stream(location, _expand(location))
    path = Path(location).expanduser()
    if path.is_dir():
        shards = sorted(path.glob("*.tar"))
        return opener.shards(location, shards) if shards else opener.folder(path)
    return _local_shards(location, str(path), opener)


def _local_shards(location: str, pattern: str, opener: Opener[F_co, S_co]) -> S_co | ShardStream:
    named = _expand(pattern) if "{" in pattern else [pattern]
    paths = [Path(p) for name in named for p in (sorted(glob.glob(name)) or [name])]  # noqa: PTH207
    if missing := [path for path in paths if not path.is_file()]:
        raise LocationRefused(location, f"there is no {missing[0]}")
    if all(path.suffix == ".tar" for path in paths):
        return opener.shards(location, paths)
    if others := [path for path in paths if not is_shard(path)]:
        raise LocationRefused(location, f"{others[0]} is no .tar shard")
    return opener.stream(location, [str(path) for path in paths])


def is_shard(path: Path) -> bool:
    """Whether a file has the suffix of a .tar archive, compressed ones included."""
    return ".tar" in path.suffixes or path.suffix == ".tgz"


def _expand(pattern: str) -> list[str]:
    """Shards named by braces, "{000..127}", and joined by "::"."""
    urls: list[str] = import_extra("webdataset.shardlists").expand_urls(pattern)
    return urls
