"""Opening labelled pictures, each kind of place in its own way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.data.errors import ClassesRefused
from model.data.images.annotations import Labels
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.folder import FolderRecords
from model.data.images.hub import HubRecords, HubStream, labelled_records, labelled_stream
from model.data.images.shards import ShardRecords
from model.data.images.streams import ShardStream
from model.data.images.tables import HubLocation


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures with a class each; `index` names the classes, None takes what the data say."""

    bad: BadExamples
    index: Classes | None = None

    def folder(self, folder: Path) -> FolderRecords:
        """Open a tree of class folders."""
        return FolderRecords(folder, self.bad, self.index)

    def shards(self, location: str, shards: Sequence[Path]) -> ShardRecords:
        """Open local shards by index."""
        return ShardRecords(location, shards, self.bad, self.index)

    def stream(self, location: str, urls: Sequence[str]) -> ShardStream:
        """Open shards that are read from their beginning; raises `ClassesRefused`."""
        if self.index is None:
            reason = "shards that are read as a stream need a class index that names them"
            raise ClassesRefused(location, reason)
        return ShardStream(location, urls, self.bad, Labels(self.index))

    def hub(self, location: str, place: HubLocation) -> HubRecords:
        """Load a Hugging Face data set."""
        return labelled_records(location, place, self.index)

    def hub_stream(self, location: str, place: HubLocation) -> HubStream:
        """Open a Hugging Face data set as a stream."""
        return labelled_stream(location, place, self.bad, self.index)
