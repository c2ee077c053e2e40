"""Data sets in the format of Hugging Face `datasets` as records: by index or as a stream."""

from collections.abc import Iterator

from model.data.errors import ClassesRefused, ExampleUnreadable, LocationRefused
from model.data.images.annotations import Annotator, Captions, Labels
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import Record
from model.data.images.extras import import_extra
from model.data.images.tables import Beside, HubLocation, Table

WINDOW = 1000  # examples held back, encoded, to be shuffled


class HubRecords:
    """A downloaded or local data set by index."""

    def __init__(self, location: str, table: Table, annotator: Annotator) -> None:
        """Read nothing yet.

        Args:
            location: names the whole in messages.
            table: its pictures and what stands beside them.
            annotator: reads that.

        Raises:
            LocationRefused: the table is empty.
        """
        self.location = location
        self._table = table
        self._annotator = annotator
        if not len(table.rows):
            raise LocationRefused(location, "the split is empty")

    @property
    def classes(self) -> Classes:
        """What labels index; none where pictures have captions."""
        return self._annotator.classes

    def __len__(self) -> int:
        return len(self._table.rows)

    def __getitem__(self, index: int) -> Record:
        """Read one row; raises `ExampleUnreadable` where that fails."""
        where = f"{self.location}:{index}"
        return self._table.record(where, self._table.rows[index], self._annotator)


class HubStream:
    """A data set that is read over the network without being downloaded."""

    def __init__(self, location: str, table: Table, bad: BadExamples, annotator: Annotator) -> None:
        """Read nothing yet.

        Args:
            location: names the whole in messages.
            table: its pictures and what stands beside them, as a stream.
            bad: is told when reading fails, which ends the pass.
            annotator: reads what stands beside the pictures.
        """
        self.location = location
        self._table = table
        self._bad = bad
        self._annotator = annotator
        self._split = import_extra("datasets.distributed").split_dataset_by_node

    @property
    def classes(self) -> Classes:
        """What labels index; none where pictures have captions."""
        return self._annotator.classes

    def read(self, *, epoch: int, share: int, shares: int) -> Iterator[Record | ExampleUnreadable]:
        """The rows of a share, shuffled by epoch; one that cannot be used is its error."""
        # One input shard at a time: several are read by threads that wait seconds at the end.
        table = self._table
        order = table.rows.shuffle(seed=epoch, buffer_size=WINDOW, max_buffer_input_shards=1)
        rows = self._split(order, rank=share, world_size=shares)
        part = f"{self.location}: share {share} of {shares} in epoch {epoch}"
        try:
            for place, row in enumerate(rows):
                try:
                    yield table.record(f"{part}, example {place}", row, self._annotator)
                except ExampleUnreadable as error:
                    yield error
        except (OSError, ValueError) as error:
            self._bad.meet(ExampleUnreadable(part, f"reading failed: {error}"))


def labelled_records(location: str, place: HubLocation, index: Classes | None = None) -> HubRecords:
    """Load a labelled data set, downloading it once where it is on the Hub.

    Args:
        location: names the whole in messages.
        place: what to load.
        index: the classes; None takes the names of the label column, or its numbers.

    Raises:
        LocationRefused: there is no such data set or split, or its columns cannot be told.
        ClassesRefused: the labels are no numbers.
        ExtraMissing: datasets is not installed.
    """
    table = Table.load(location, place, Beside.LABEL)
    classes = index or table.classes or table.numbered_classes(location)
    return HubRecords(location, table, Labels(classes))


def labelled_stream(
    location: str, place: HubLocation, bad: BadExamples, index: Classes | None = None
) -> HubStream:
    """Open a labelled data set as a stream; arguments and errors as for `labelled_records`.

    Raises:
        ClassesRefused: no class index is given and the label column has no names.
    """
    table = Table.load(location, place, Beside.LABEL, streaming=True)
    classes = index or table.classes
    if classes is None:
        raise ClassesRefused(location, "a stream of numbers needs a class index that names them")
    return HubStream(location, table, bad, Labels(classes))


def captioned_records(location: str, place: HubLocation) -> HubRecords:
    """Load a captioned data set; arguments and errors as for `labelled_records`."""
    return HubRecords(location, Table.load(location, place, Beside.CAPTION), Captions())


def captioned_stream(location: str, place: HubLocation, bad: BadExamples) -> HubStream:
    """Open a captioned data set as a stream; arguments and errors as for `labelled_records`."""
    table = Table.load(location, place, Beside.CAPTION, streaming=True)
    return HubStream(location, table, bad, Captions())
