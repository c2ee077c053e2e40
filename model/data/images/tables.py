"""Tables in the format of Hugging Face `datasets`: of the Hub or a local folder.

A location is NAME[@REVISION][#SPLIT][?config=…&image=…&label=…|caption=…], NAME a repository
OWNER/NAME or a folder: one that `save_to_disk` wrote or one of Parquet, WebDataset or other files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, Self
from urllib.parse import parse_qsl

from model.data.errors import ExampleUnreadable, LocationRefused
from model.data.images.annotations import CAPTION_FIELDS, Annotator
from model.data.images.classes import Classes, numbered_classes, spoken_classes
from model.data.images.decoding import Record
from model.data.images.extras import import_extra

LABEL_COLUMNS = ("label", "labels", "cls")
"""Where a data set without a class column is searched for numbers."""
_ALLOWED = "NAME[@REVISION][#SPLIT][?config=…&image=…&label=…], or caption= for label="


class Beside(StrEnum):
    """What stands beside the pictures; its value is the option that names the column."""

    LABEL = "label"
    CAPTION = "caption"


@dataclass(frozen=True, slots=True)
class HubLocation:
    """A data set, its revision and split, and its columns where they cannot be told."""

    name: str
    revision: str | None = None
    split: str = "train"
    config: str | None = None
    image: str | None = None
    label: str | None = None
    caption: str | None = None

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
        unknown = sorted(options.keys() - {"config", "image", "label", "caption"})
        if not name or unknown:
            reason = f"got {unknown[0]!r}" if unknown else "it names no data set"
            raise LocationRefused(text, f"{reason}; allowed: {_ALLOWED}")
        return cls(name=name, revision=revision or None, split=split or "train", **options)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of pictures, not decoded, with what stands beside them."""

    rows: Any  # by index, or a stream: the package has no types
    picture: str
    beside: str
    classes: Classes | None
    """The names that the column beside has; None where it has none."""

    @classmethod
    def load(
        cls, location: str, place: HubLocation, beside: Beside, *, streaming: bool = False
    ) -> Self:
        """Load a data set, or open it as a stream.

        Args:
            location: names it in messages.
            place: what to load.
            beside: what is wanted beside the pictures.
            streaming: whether to read it over the network without downloading it.

        Raises:
            LocationRefused: there is no such data set or split, or its columns cannot be told.
            ExtraMissing: datasets is not installed.
        """
        datasets = import_extra("datasets")
        dataset = _load(datasets, location, place, streaming=streaming)
        if dataset.features is None:
            dataset = dataset._resolve_features()
        picture, column = _columns(datasets, location, place, beside, dataset.features)
        kind = dataset.features[column]
        rows = dataset.select_columns([picture, column])
        rows = rows.cast_column(picture, datasets.Image(decode=False))
        named = isinstance(kind, datasets.ClassLabel)
        return cls(rows, picture, column, spoken_classes(kind.names) if named else None)

    def numbered_classes(self, location: str) -> Classes:
        """Classes named by the numbers that the column beside has, read whole.

        Raises:
            ClassesRefused: it has none.
        """
        said = {v for v in self.rows[self.beside] if isinstance(v, int) and v >= 0}
        return numbered_classes(location, sorted(said))

    def record(self, where: str, row: Mapping[str, Any], annotator: Annotator) -> Record:
        """What a row stands for; raises `ExampleUnreadable`, which says `where`."""
        picture = row[self.picture]
        if not isinstance(picture, dict):
            raise ExampleUnreadable(where, "it has no picture")
        try:
            content = picture["bytes"] or Path(picture["path"]).read_bytes()
        except (OSError, TypeError) as error:
            raise ExampleUnreadable(where, f"its picture cannot be read: {error}") from error
        return annotator.of_cell(where, content, row[self.beside])


def _load(datasets: ModuleType, location: str, place: HubLocation, *, streaming: bool) -> Any:  # noqa: ANN401 - the package has no types
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
    datasets: ModuleType,
    location: str,
    place: HubLocation,
    beside: Beside,
    features: Mapping[str, object],
) -> tuple[str, str]:
    """Names of the columns of pictures and of what stands beside them."""
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    match beside:
        case Beside.LABEL:
            asked, other = place.label, place.caption and f"caption={place.caption}"
            kinds = [n for n, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
            found = kinds or [name for name in LABEL_COLUMNS if name in features]
        case Beside.CAPTION:
            asked, other = place.caption, place.label and f"label={place.label}"
            found = [name for name in CAPTION_FIELDS if name in features]
    if other is not None:
        raise LocationRefused(location, f"got {other}; allowed: ?{beside}=COLUMN")
    return (
        _chosen(location, "image", place.image, pictures, features),
        _chosen(location, beside, asked, found, features),
    )


def _chosen(
    location: str,
    option: str,
    asked: str | None,
    found: list[str],
    features: Mapping[str, object],
) -> str:
    """The column asked for, or the only one found."""
    candidates = found if asked is None else [name for name in features if name == asked]
    if len(candidates) != 1:
        got = ", ".join(candidates) or "none"
        allowed = f"?{option}=COLUMN, one of {', '.join(features)}"
        raise LocationRefused(location, f"its {option} column: got {got}; allowed: {allowed}")
    return candidates[0]
