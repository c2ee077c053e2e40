"""A set small enough to reason about: two concepts in two styles, plus one that is in only one."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.data.emoji.build import Sources, Style, key_names, publish
from model.data.emoji.icons import IconSet


def square(colour: str) -> str:
    return f'<path fill="{colour}" d="M0 0h8v8H0z"/>'


def record(unified: str, name: str, *, category: str = "Food & Drink", order: int = 0) -> Any:
    return {
        "unified": unified,
        "name": name,
        "short_names": [name.lower().replace(" ", "_")],
        "category": category,
        "subcategory": "food-fruit",
        "sort_order": order,
    }


@pytest.fixture
def records() -> list[Mapping[str, Any]]:
    return [
        record("1F34F", "GREEN APPLE", order=2),
        record("1F34E", "RED APPLE", order=1),
        record("1F34B", "LEMON", order=3),
        record("26A0-FE0F", "WARNING SIGN", category="Symbols", order=0),
    ]


@pytest.fixture
def sources(records: list[Mapping[str, Any]]) -> Sources:
    left: Mapping[str, Any] = {
        "width": 8,
        "height": 8,
        "icons": {
            "red-apple": {"body": square("#f00")},
            "green-apple": {"body": square("#0f0")},
            "lemon": {"body": square("#ff0")},
            "warning": {"body": square("#000")},
        },
    }
    right: Mapping[str, Any] = {
        "width": 8,
        "height": 8,
        "icons": {"red-apple": {"body": square("#800")}, "green": {"body": square("#080")}},
        "aliases": {"green-apple": {"parent": "green"}},
    }
    chars = {"1f34e": "red-apple", "1f34f": "green-apple", "1f34b": "lemon", "26a0": "warning"}
    return Sources(
        styles=(
            Style("left", IconSet(left), key_names(chars)),
            Style("right", IconSet(right), key_names(chars)),
        ),
        records=records,
    )


@pytest.fixture
def tiny_set(sources: Sources, tmp_path: Path) -> Path:
    """A published set of 16 px tiles."""
    publish(sources, tmp_path / "tiny", size=16, progress=lambda _style, _total: None)
    return tmp_path / "tiny"


@pytest.fixture
def photo_tree(tmp_path: Path) -> Path:
    """Class folders with pictures of several kinds, one nested: 2 ants, 3 bees."""
    root = tmp_path / "photos"
    pictures = {
        "bee/1.JPEG": (40, 30, 20),
        "bee/more/2.png": (30, 40, 20),
        "bee/3.webp": (33, 33, 20),
        "ant/1.jpg": (20, 50, 90),
        "ant/2.jpg": (64, 64, 120),
    }
    for name, (width, height, level) in pictures.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(width, height, level, PICTURE_FORMATS[path.suffix.lower()]))
    (root / "bee" / "notes.txt").write_text("not a picture")
    (root / ".cache").mkdir()
    return root


PICTURE_FORMATS = {".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def picture_bytes(width: int, height: int, level: int, kind: str) -> bytes:
    """A picture that grows brighter to the right from `level`."""
    ramp = np.linspace(level, level + 100, width)
    pixels = np.broadcast_to(ramp[None, :, None], (height, width, 3)).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


ShardWriter = Callable[[str, Mapping[str, bytes]], Path]


@pytest.fixture
def picture() -> bytes:
    return picture_bytes(24, 16, 50, "PNG")


@pytest.fixture
def write_shard(tmp_path: Path) -> ShardWriter:
    """Writes a tar archive of members in the order given."""

    def write(name: str, members: Mapping[str, bytes]) -> Path:
        path = tmp_path / name
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
            for member, content in members.items():
                header = tarfile.TarInfo(member)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def shards(write_shard: ShardWriter) -> list[Path]:
    """Three shards of four pictures; picture k has label k % 3 and brightness 10 k."""
    return [
        write_shard(
            f"train-{shard}.tar",
            {
                name: content
                for k in range(4 * shard, 4 * shard + 4)
                for name, content in (
                    (f"{k:04d}.png", picture_bytes(16, 16, 10 * k, "PNG")),
                    (f"{k:04d}.cls", str(k % 3).encode()),
                )
            },
        )
        for shard in range(3)
    ]
