"""Encoding, transcoding, and the record of origin inside."""

import dataclasses
import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from service.images import (
    AI_GENERATED,
    DIGITAL_SOURCE_TYPE,
    FORMATS,
    Provenance,
    encode_png,
    read_provenance,
    transcode,
)
from service.queue.jobs import ImageRequest

REQUEST = ImageRequest(
    model="emoji-32",
    label=3,
    class_name="piñata <&> \N{TIGER FACE}",
    n=4,
    seed=2**63 - 4,
    steps=20,
    sampler="dpmpp_2m",
    guidance=1.5,
    size=32,
)
PROVENANCE = Provenance(
    model="emoji-32",
    class_name="piñata <&> \N{TIGER FACE}",
    label=3,
    seed=2**63 - 2,
    steps=20,
    sampler="dpmpp_2m",
    guidance=1.5,
    size=32,
)


PROMPTED = REQUEST.model_copy(
    update={"label": None, "class_name": None, "prompt": "a\n<red>  apple \x00\ufffe"}
)


@pytest.fixture
def pixels():
    """A smooth picture that is taller than wide."""
    rows, columns = np.mgrid[0:40, 0:32]
    return np.stack([rows * 6, columns * 8, rows + columns], axis=-1).astype(np.uint8)


def _decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_png_keeps_every_pixel(pixels):
    np.testing.assert_array_equal(_decoded(encode_png(pixels, REQUEST, 0)), pixels)


def test_png_says_in_its_text_what_made_it_and_how(pixels):
    text = Image.open(io.BytesIO(encode_png(pixels, REQUEST, 2))).info
    assert text["Software"] == "dimr-serve"
    assert text["Description"].startswith(f"{AI_GENERATED}: piñata")
    parameters = json.loads(text["parameters"])
    assert parameters == {
        "model": "emoji-32",
        "class_name": "piñata <&> \N{TIGER FACE}",
        "label": 3,
        "seed": 2**63 - 2,
        "steps": 20,
        "sampler": "dpmpp_2m",
        "guidance": 1.5,
        "size": 32,
        "origin": "AI-generated",
    }
    assert DIGITAL_SOURCE_TYPE in text["XML:com.adobe.xmp"]


@pytest.mark.parametrize("target", FORMATS)
def test_every_format_keeps_the_provenance(pixels, target):
    data = transcode(encode_png(pixels, REQUEST, 2), target, None)
    assert Image.open(io.BytesIO(data)).format == target.upper()
    assert read_provenance(data) == PROVENANCE


@pytest.mark.parametrize("target", ["webp", "jpeg"])
def test_lossy_formats_carry_the_mark_in_well_formed_xmp(pixels, target):
    image = Image.open(io.BytesIO(transcode(encode_png(pixels, REQUEST, 0), target, None)))
    packet = image.info["xmp"].decode()
    assert DIGITAL_SOURCE_TYPE in packet
    assert "piñata &lt;&amp;&gt; \N{TIGER FACE}" in packet
    assert packet.startswith("<?xpacket")


@pytest.mark.parametrize("target", ["webp", "jpeg"])
def test_lossy_formats_stay_close_and_shrink_with_quality(pixels, target):
    png = encode_png(pixels, REQUEST, 0)
    best, default, worst = (transcode(png, target, quality) for quality in (100, None, 0))
    error = np.abs(_decoded(default).astype(int) - pixels.astype(int))
    assert error.mean() < 4
    assert len(worst) < len(default) <= len(best)


def test_transcoding_to_png_changes_nothing(pixels):
    png = encode_png(pixels, REQUEST, 0)
    assert transcode(png, "png", 5) is png


@pytest.mark.parametrize("target", FORMATS)
def test_equal_input_gives_equal_bytes(pixels, target):
    first, second = (transcode(encode_png(pixels, REQUEST, 1), target, 80) for _ in range(2))
    assert first == second


def test_images_of_one_request_differ_in_their_seed_only(pixels):
    seeds = [read_provenance(encode_png(pixels, REQUEST, k)).seed for k in range(REQUEST.n)]
    assert seeds == [REQUEST.seed + k for k in range(4)]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match=r"pixels: got .* allowed: uint8 \(H, W, 3\)"):
        encode_png(wrong, REQUEST, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_of_somebody_else_has_no_provenance(kind):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, format=kind)
    with pytest.raises(ValueError, match="no generation parameters"):
        read_provenance(out.getvalue())


@pytest.mark.parametrize("target", FORMATS)
def test_an_image_of_a_prompt_carries_the_prompt_as_it_was(pixels, target):
    provenance = read_provenance(transcode(encode_png(pixels, PROMPTED, 0), target, None))
    assert (provenance.prompt, provenance.label) == (PROMPTED.prompt, None)
    assert provenance.class_name is None


def test_an_image_of_a_class_carries_no_prompt(pixels):
    request = REQUEST.model_copy(update={"prompt": "a piñata"})
    assert encode_png(pixels, request, 0) == encode_png(pixels, REQUEST, 0)


def test_xmp_is_well_formed_whatever_the_prompt_holds(pixels):
    text = Image.open(io.BytesIO(encode_png(pixels, PROMPTED, 0))).info
    packet = ElementTree.fromstring(text["XML:com.adobe.xmp"].partition("?>")[2])
    said = "".join(packet.itertext())
    assert "AI-generated: a <red> apple \ufffd\ufffd; model emoji-32" in said


def test_an_unconditional_image_says_so(pixels):
    request = PROMPTED.model_copy(update={"prompt": ""})
    assert "no prompt" in read_provenance(encode_png(pixels, request, 0)).description


@pytest.mark.parametrize("target", FORMATS)
def test_the_longest_prompt_fits_into_every_format(pixels, target):
    prompt = "\N{TIGER FACE}" * 4000
    request = PROMPTED.model_copy(update={"prompt": prompt})
    image = transcode(encode_png(pixels, request, 0), target, None)
    assert read_provenance(image).prompt == prompt


def test_a_preview_says_after_how_many_calls_it_was_taken(pixels):
    provenance = read_provenance(encode_png(pixels, REQUEST, 2, 7))
    assert provenance == dataclasses.replace(PROVENANCE, calls_done=7)
    assert "7 of 20 steps" in provenance.description
