"""Data sets in the format of Hugging Face `datasets`: of the Hub or a local folder.

A location is NAME[@REVISION][#SPLIT][?config=…&image=…&label=…], NAME a repository OWNER/NAME or a
folder: one that `save_to_disk` wrote or one of Parquet, WebDataset or other files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self
from urllib.parse import parse_qsl

from model.data.errors import ClassesRefused, ExampleUnreadable, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes, numbered_classes, spoken_classes
from model.data.images.decoding import Record
from model.data.images.extras import import_extra

WINDOW = 1000  # examples held back, encoded, to be shuffled
LABEL_COLUMNS = ("label", "labels", "cls")
"""Where a data set without a class column is searched for numbers."""


@dataclass(frozen=True, slots=True)
class HubLocation:
    """A data set, its revision and split, and its columns where they cannot be told."""

    name: str
    revision: str | None = None
    split: str = "train"
    config: str | None = None
    image: str | None = None
    label: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a location without its prefix.

        Raises:
            LocationRefused: it names no data set, or an option that there is not.
        """
        rest, _, query = text.partition("?")
        rest, _, split = rest.partition("#")
        name, _, revision = rest.partition("@")
        options = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted(options.keys() - {"config", "image", "label"})
        if not name or unknown:
            reason = f"got {unknown[0]!r}" if unknown else "it names no data set"
            allowed = "NAME[@REVISION][#SPLIT][?config=…&image=…&label=…]"
            raise LocationRefused(text, f"{reason}; allowed: {allowed}")
        return cls(name=name, revision=revision or None, split=split or "train", **options)


class HubRecords:
    """A downloaded or local data set by index."""

    def __init__(self, location: str, place: HubLocation, index: Classes | None = None) -> None:
        """Load the data set, downloading it once where it is on the Hub.

        Args:
            location: names the whole in messages.
            place: what to load.
            index: the classes; None takes the names of the label column, or its numbers.

        Raises:
            LocationRefused: there is no such data set or split, or its columns cannot be told.
            ClassesRefused: the labels are no numbers.
            ExtraMissing: datasets is not installed.
        """
        self.location = location
        datasets = import_extra("datasets")
        dataset = _load(datasets, location, place)
        self._columns = _columns(datasets, location, place, dataset.features)
        self._dataset = dataset.select_columns(list(self._columns)).cast_column(
            self._columns[0], datasets.Image(decode=False)
        )
        names = _class_names(datasets, dataset.features[self._columns[1]])
        self.classes = index or names or self._numbered()
        if not len(self._dataset):
            raise LocationRefused(location, "the split is empty")

    def _numbered(self) -> Classes:
        label = self._columns[1]
        said = {value for value in self._dataset[label] if isinstance(value, int) and value >= 0}
        return numbered_classes(self.location, sorted(said))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Record:
        """Read one row; raises `ExampleUnreadable` where that fails."""
        where = f"{self.location}:{index}"
        return _record(where, self._dataset[index], self._columns, self.classes)


class HubStream:
    """A data set that is read over the network without being downloaded."""

    def __init__(
        self,
        location: str,
        place: HubLocation,
        bad: BadExamples,
        index: Classes | None = None,
    ) -> None:
        """Open the data set.

        Args:
            location: names the whole in messages.
            place: what to load.
            bad: is told when reading fails, which ends the pass.
            index: the classes; None takes the names of the label column.

        Raises:
            LocationRefused: there is no such data set or split, or its columns cannot be told.
            ClassesRefused: no class index is given and the label column has no names.
            ExtraMissing: datasets is not installed.
        """
        self.location = location
        self._bad = bad
        datasets = import_extra("datasets")
        self._split = import_extra("datasets.distributed").split_dataset_by_node
        dataset = _load(datasets, location, place, streaming=True)
        if dataset.features is None:
            dataset = dataset._resolve_features()
        self._columns = _columns(datasets, location, place, dataset.features)
        self._dataset = dataset.select_columns(list(self._columns)).cast_column(
            self._columns[0], datasets.Image(decode=False)
        )
        classes = index or _class_names(datasets, dataset.features[self._columns[1]])
        if classes is None:
            raise ClassesRefused(
                location, "a stream of numbers needs a class index that names them"
            )
        self.classes = classes

    def read(self, *, epoch: int, share: int, shares: int) -> Iterator[Record | ExampleUnreadable]:
        """The rows of a share, shuffled by epoch; one that cannot be used is its error."""
        # One input shard at a time: several are read by threads that wait seconds at the end.
        order = self._dataset.shuffle(seed=epoch, buffer_size=WINDOW, max_buffer_input_shards=1)
        rows = self._split(order, rank=share, world_size=shares)
        part = f"{self.location}: share {share} of {shares} in epoch {epoch}"
        try:
            for place, row in enumerate(rows):
                try:
                    yield _record(f"{part}, example {place}", row, self._columns, self.classes)
                except ExampleUnreadable as error:
                    yield error
        except (OSError, ValueError) as error:
            self._bad.meet(ExampleUnreadable(part, f"reading failed: {error}"))


def _load(
    datasets: ModuleType, location: str, place: HubLocation, *, streaming: bool = False
) -> Any:  # noqa: ANN401 - the package has no types
    try:
        folder = Path(place.name).expanduser()
        if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(str(folder))
            dataset = loaded[place.split] if isinstance(loaded, dict) else loaded
            return dataset.to_iterable_dataset() if streaming else dataset
        name = str(folder) if folder.is_dir() else place.name
        return datasets.load_dataset(
            name, place.config, split=place.split, revision=place.revision, streaming=streaming
        )
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        said = " ".join(str(error).split())
        raise LocationRefused(location, f"{type(error).__name__}: {said:.300}") from error


def _columns(
    datasets: ModuleType, location: str, place: HubLocation, features: Mapping[str, object]
) -> tuple[str, str]:
    """Names of the columns of pictures and of labels."""
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    classes = classes or [name for name in LABEL_COLUMNS if name in features]
    chosen = []
    for option, asked, found in (("image", place.image, pictures), ("label", place.label, classes)):
        candidates = found if asked is None else [name for name in features if name == asked]
        if len(candidates) != 1:
            got = ", ".join(candidates) or "none"
            allowed = f"?{option}=COLUMN, one of {', '.join(features)}"
            raise LocationRefused(location, f"its {option} column: got {got}; allowed: {allowed}")
        chosen.append(candidates[0])
    return chosen[0], chosen[1]


def _class_names(datasets: ModuleType, kind: object) -> Classes | None:
    """The names that the label column itself has."""
    return spoken_classes(kind.names) if isinstance(kind, datasets.ClassLabel) else None


def _record(
    where: str, row: Mapping[str, Any], columns: tuple[str, str], classes: Classes
) -> Record:
    picture, said = (row[column] for column in columns)
    label = classes.label(where, said)
    if not isinstance(picture, dict):
        raise ExampleUnreadable(where, "it has no picture")
    try:
        content = picture["bytes"] or Path(picture["path"]).read_bytes()
    except (OSError, TypeError) as error:
        raise ExampleUnreadable(where, f"its picture cannot be read: {error}") from error
    return Record(where, content, label)
