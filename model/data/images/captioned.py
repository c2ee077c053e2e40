"""Opening captioned pictures, each kind of place in its own way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.data.images.annotations import Captions
from model.data.images.bad import BadExamples
from model.data.images.hub import HubRecords, HubStream, captioned_records, captioned_stream
from model.data.images.shards import CaptionedShardRecords
from model.data.images.sidecars import SidecarRecords
from model.data.images.streams import ShardStream
from model.data.images.tables import HubLocation


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures with one caption or several."""

    bad: BadExamples

    def folder(self, folder: Path) -> SidecarRecords:
        """Open a tree of pictures with texts or metadata beside them."""
        return SidecarRecords(folder, self.bad)

    def shards(self, location: str, shards: Sequence[Path]) -> CaptionedShardRecords:
        """Open local shards by index."""
        return CaptionedShardRecords(location, shards, self.bad)

    def stream(self, location: str, urls: Sequence[str]) -> ShardStream:
        """Open shards that are read from their beginning."""
        return ShardStream(location, urls, self.bad, Captions())

    def hub(self, location: str, place: HubLocation) -> HubRecords:
        """Load a Hugging Face data set."""
        return captioned_records(location, place)

    def hub_stream(self, location: str, place: HubLocation) -> HubStream:
        """Open a Hugging Face data set as a stream."""
        return captioned_stream(location, place, self.bad)
