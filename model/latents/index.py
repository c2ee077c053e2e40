"""What a folder of latents says of itself: a plan, a record beside each shard, and an index.

`plan.json` is there from the first moment, `moments-00000.json` once its shard is complete, and
`index.json` once all are. Each appears whole.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from model.data.errors import LatentsDiffer, LatentsUnreadable
from model.files import file_sha256, publish, write_whole
from model.specs.base import Spec
from model.specs.process import LatentsSpec

PLAN_NAME, INDEX_NAME = "plan.json", "index.json"
_CHUNK_BYTES = 1 << 22


class LeftOut(Spec):
    """An example that could not be used."""

    where: str
    reason: str


class ClassName(Spec):
    """One class: its index is its place."""

    name: str
    aliases: tuple[str, ...] = ()


class Autoencoder(Spec):
    """What computed the moments."""

    source: str
    sha256: str = Field(description="of its weights in float32, as a bundle carries them")
    spec: LatentsSpec


class OfficialFeatures(Spec):
    """A folder of features in the DiMR authors' format; what computed them is not known."""

    batch: PositiveInt = Field(description="images in a batch of their extraction")


class Plan(Spec):
    """Everything that determines the shards."""

    format: Literal[1] = 1
    location: str
    size: PositiveInt | None = Field(description="side of the images in pixels, where known")
    origin: Autoencoder | OfficialFeatures
    classes: tuple[ClassName, ...]
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(description="(2 C, h, w)")
    dtype: Literal["float32", "float16"]
    examples: PositiveInt
    shard_size: PositiveInt
    bad: tuple[LeftOut, ...] = Field(default=(), description="not even counted as examples")

    @property
    def shards(self) -> int:
        """How many there will be."""
        return -(-self.examples // self.shard_size)

    def span(self, shard: int) -> range:
        """Which examples a shard is made of."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.examples))


FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Shard(Spec):
    """One complete file; `count` examples in the order of the data, without those left out."""

    file: FileName
    sha256: str
    size_bytes: PositiveInt
    count: NonNegativeInt
    bad: tuple[LeftOut, ...] = ()


class Index(Spec):
    """index.json: a whole folder."""

    plan: Plan
    shards: tuple[Shard, ...]

    @property
    def count(self) -> int:
        """Examples over all shards."""
        return sum(shard.count for shard in self.shards)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What could not be used."""
        return (*self.plan.bad, *(entry for shard in self.shards for entry in shard.bad))


S = TypeVar("S", bound=Spec)


def read_spec(path: Path, kind: type[S]) -> S:
    """Read one of these files.

    Raises:
        LatentsUnreadable: it is missing, or not what this version writes.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LatentsUnreadable(path, error.strerror or str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise LatentsUnreadable(path, f"{field}: {first['msg']}") from error


def write_spec(path: Path, spec: Spec, *, share: int) -> None:
    """Write one of these files; arguments as for `write_whole`."""
    write_whole(path, _text(spec), owner=share)


def _text(spec: Spec) -> bytes:
    return (spec.model_dump_json(indent=1) + "\n").encode()


def begin(folder: Path, plan: Plan, *, share: int) -> None:
    """Make a folder for a plan, or find that it was begun with the same one.

    Raises:
        LatentsDiffer: it was begun with another; names the first field that differs.
        LatentsUnreadable: its plan cannot be read, or it holds other things.
    """
    path = folder / PLAN_NAME
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(_foreign(folder))):
            raise LatentsUnreadable(folder, "it holds other things; name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        publish(path, _text(plan), owner=share)
    begun = read_spec(path, Plan)
    for field in Plan.model_fields:
        got, was = getattr(plan, field), getattr(begun, field)
        if got != was:
            raise LatentsDiffer(folder, field, got=_brief(got), begun=_brief(was))


def _foreign(folder: Path) -> Sequence[Path]:
    """What is in a folder other than what another share may just be writing."""
    return [path for path in folder.iterdir() if not path.name.lstrip(".").startswith(PLAN_NAME)]


def _brief(value: object) -> str:
    if isinstance(value, tuple) and len(value) > 4:
        return f"{len(value)} of them"
    return f"{value!r:.200}"


def shard_name(shard: int) -> str:
    """File name of a shard."""
    return f"moments-{shard:05d}.safetensors"


def record_path(folder: Path, shard: int) -> Path:
    """Where the record of a complete shard is."""
    return (folder / shard_name(shard)).with_suffix(".json")


def damage(folder: Path, shard: Shard) -> str | None:
    """What is wrong with the file of a shard, byte by byte; None where nothing is."""
    path = folder / shard.file
    try:
        size = path.stat().st_size
        if size != shard.size_bytes:
            return f"it has {size} bytes, the index says {shard.size_bytes}"
        found = file_sha256(path)
    except OSError as error:
        return error.strerror or str(error)
    return None if found == shard.sha256 else f"sha256 is {found}, the index says {shard.sha256}"
