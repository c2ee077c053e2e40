import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from model.data.errors import ExampleUnreadable
from model.data.images.decoding import Record, decode_picture, decode_record

CORNERS = np.array([[[200, 0, 0], [0, 200, 0]], [[0, 0, 200], [90, 90, 90]]], dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (4, CORNERS[::-1]),
        (5, CORNERS.transpose(1, 0, 2)),
        (6, np.rot90(CORNERS, 1)),
        (7, CORNERS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(CORNERS, -1)),
    ],
)
def test_a_picture_is_turned_upright(orientation, stored):
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    np.testing.assert_array_equal(np.asarray(decode_picture(encoded(image, exif=exif))), CORNERS)


def test_an_unknown_orientation_is_upright():
    image = Image.fromarray(CORNERS)
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 77
    np.testing.assert_array_equal(np.asarray(decode_picture(encoded(image, exif=exif))), CORNERS)


def test_transparency_lies_on_white():
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    found = np.asarray(decode_picture(encoded(Image.fromarray(pixels, "RGBA"))))
    np.testing.assert_array_equal(found, [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]])


def test_a_transparent_palette_entry_is_white():
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette([9, 8, 7, 1, 2, 3])
    found = np.asarray(decode_picture(encoded(image, transparency=1)))
    np.testing.assert_array_equal(found, [[[9, 8, 7], [255, 255, 255]]])


def test_greyscale_is_repeated():
    grey = np.array([[0, 7, 255]], dtype=np.uint8)
    found = np.asarray(decode_picture(encoded(Image.fromarray(grey))))
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_to_eight():
    grey = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    found = np.asarray(decode_picture(encoded(Image.fromarray(grey))))
    np.testing.assert_array_equal(found[0, :, 0], [0, 100, 255])


def test_cmyk_becomes_rgb():
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = np.asarray(decode_picture(encoded(ink, "JPEG")))[4, 4]
    np.testing.assert_allclose(red, [255, 0, 0], atol=3)


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode_picture(content)).min() == 255


def damaged():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = encoded(photo, kind)
        yield pytest.param(whole[: len(whole) // 2], id=f"half of a {kind}")
    yield pytest.param(b"", id="nothing")
    yield pytest.param(b"<html>not found</html>", id="a web page")
    yield pytest.param(encoded(photo.convert("F"), "TIFF"), id="no fixed range")


@pytest.mark.parametrize("content", list(damaged()))
def test_a_damaged_picture_is_named_with_the_reason(content):
    with pytest.raises(ExampleUnreadable) as refusal:
        decode_record(Record("shard.tar:0001", content, 3), 16)
    assert refusal.value.where == "shard.tar:0001"
    assert refusal.value.reason
    assert str(refusal.value).startswith("shard.tar:0001 cannot be used: ")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_a_picture_with_flipped_bytes_is_decoded_or_refused():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    random = np.random.default_rng(1)
    refused = 0
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        whole = np.frombuffer(encoded(photo, kind), dtype=np.uint8)
        for _ in range(60):
            content = whole.copy()
            content[random.integers(0, min(len(content), 400), 3)] = random.integers(0, 256, 3)
            try:
                decode_record(Record("x", content.tobytes(), 0), 8)
            except ExampleUnreadable:
                refused += 1
    assert refused > 0
