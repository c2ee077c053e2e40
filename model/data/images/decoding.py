"""From the bytes of a picture to upright RGB on white, and to a training example.

What ADM's loader leaves to Pillow is decided here: a picture is turned as its EXIF orientation says
(ADM ignores it), transparency is laid on white (ADM drops it), 16-bit greyscale is scaled to 8 bits
(Pillow would clip it). Greyscale is repeated over the channels, CMYK is converted without a colour
profile, and of an animation the first frame counts: as ADM does.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from model.data.errors import ExampleUnreadable
from model.data.images.crop import centre_crop
from model.data.source import Example

WHITE = (255, 255, 255, 255)
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
"""File names of pictures, in lower case."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what makes the picture upright; 1 and unknown values mean it is."""

# What Pillow's decoders raise for damaged content.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True)
class Record:
    """A picture that is not decoded yet, with its label or captions; `where` names it."""

    where: str
    content: bytes
    label: int | None = None
    captions: tuple[str, ...] = ()


def decode_record(record: Record, size: int) -> Example:
    """The example a record stands for: ADM's crop of the picture, uint8 (size, size, 3).

    Raises:
        ExampleUnreadable: the picture is truncated, damaged or of an unknown kind.
    """
    try:
        crop = centre_crop(decode_picture(record.content), size)
    except _DAMAGE as error:
        raise ExampleUnreadable(record.where, _reason(record.content, error)) from error
    return Example(crop, record.label, record.captions)


def decode_picture(content: bytes) -> Image.Image:
    """Decode to upright RGB on white; raises what Pillow raises."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        image = _to_rgb(picture)
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        grey = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if picture.mode in {"I", "F"}:
        msg = f"pixels of mode {picture.mode} have no fixed range"
        raise ValueError(msg)
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, WHITE)
        return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _reason(content: bytes, error: Exception) -> str:
    if not content:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "no known picture format"
    said = " ".join(str(error).split())
    return said or type(error).__name__
