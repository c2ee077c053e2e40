"""Image bytes: encoding, transcoding, and the record of origin that every image carries.

Equal pixels and equal provenance give equal bytes: nothing here reads a clock or a random number.
"""

import dataclasses
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

Format = Literal["png", "webp", "jpeg"]
FORMATS: tuple[Format, ...] = ("png", "webp", "jpeg")
MEDIA_TYPES: Mapping[Format, str] = MappingProxyType({f: f"image/{f}" for f in FORMATS})
DEFAULT_QUALITY = 95  # of the lossy formats; above it Pillow's JPEG grows without getting better

AI_GENERATED = "AI-generated"
# The IPTC term for "made by a trained model", which search engines and editors look for in XMP.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_SOFTWARE = "dimr-serve"
_PARAMETERS_KEY = "parameters"
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <xmp:CreatorTool>{software}</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <dc:description>
    <rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt>
   </dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


# What XML 1.0 cannot hold, not even escaped; prompts may have it.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Recipe(Protocol):
    """What a request says about all of its images; `service.queue.jobs.ImageRequest` is one."""

    @property
    def model(self) -> str:
        """Model id."""

    @property
    def class_name(self) -> str | None:
        """Name of the class that was drawn, None where the prompt decided."""

    @property
    def label(self) -> int | None:
        """Its index."""

    @property
    def prompt(self) -> str | None:
        """What was drawn where `label` is None."""

    @property
    def seed(self) -> int:
        """Seed of the first image; image k uses seed + k."""

    @property
    def steps(self) -> int:
        """Network calls per image."""

    @property
    def sampler(self) -> str:
        """Name of the sampler."""

    @property
    def guidance(self) -> float:
        """Classifier-free guidance scale, 1 for none."""

    @property
    def size(self) -> int:
        """Side in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Everything needed to make one image again, and the mark that a model made it.

    Attributes:
        model: its id.
        class_name: what was drawn, by name; None where a prompt was drawn.
        label: its index.
        prompt: what was drawn; None where a class was.
        seed: of this image.
        steps: network calls of the finished image.
        sampler: name of the sampler.
        guidance: classifier-free guidance scale.
        size: side of the finished image in pixels.
        calls_done: network calls of a preview; None for a finished image.
        origin: the mark.
    """

    model: str
    class_name: str | None = None
    label: int | None = None
    prompt: str | None = None
    seed: int
    steps: int
    sampler: str
    guidance: float
    size: int
    calls_done: int | None = None
    origin: str = AI_GENERATED

    @property
    def description(self) -> str:
        """One line for people: what made the image, of what, and how."""
        subject = " ".join((self.class_name or self.prompt or "").split()) or "no prompt"
        done = "" if self.calls_done is None else f"{self.calls_done} of "
        return (
            f"{self.origin}: {subject}; model {self.model}, seed {self.seed}, "
            f"{done}{self.steps} steps, {self.sampler}, guidance {self.guidance:g}"
        )

    def to_json(self) -> str:
        """What is not None, in the order of the fields; ASCII, as EXIF text holds nothing else."""
        facts = dataclasses.asdict(self)
        return json.dumps({name: value for name, value in facts.items() if value is not None})


def encode_png(
    pixels: NDArray[np.uint8], recipe: Recipe, index: int, calls_done: int | None = None
) -> bytes:
    """Encode one image losslessly, with its provenance inside.

    The text chunks are Software, Description, `parameters` (JSON) and an XMP packet.

    Args:
        pixels: (H, W, 3).
        recipe: the request that asked for the image.
        index: which of the request's images this is, from 0.
        calls_done: network calls after which a preview shows it; None when it is finished.

    Raises:
        ValueError: the array is not uint8 of shape (H, W, 3).
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        msg = f"pixels: got {pixels.dtype} of shape {pixels.shape}; allowed: uint8 (H, W, 3)"
        raise ValueError(msg)
    provenance = Provenance(
        model=recipe.model,
        class_name=recipe.class_name,
        label=recipe.label,
        prompt=recipe.prompt if recipe.label is None else None,
        seed=recipe.seed + index,
        steps=recipe.steps,
        sampler=recipe.sampler,
        guidance=recipe.guidance,
        size=recipe.size,
        calls_done=calls_done,
    )
    text = PngInfo()
    text.add_itxt("Software", _SOFTWARE)
    text.add_itxt("Description", provenance.description)
    text.add_itxt(_PARAMETERS_KEY, provenance.to_json())
    text.add_itxt("XML:com.adobe.xmp", _xmp(provenance))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", pnginfo=text)
    return out.getvalue()


def transcode(png: bytes, target: Format, quality: int | None) -> bytes:
    """Turn a PNG of `encode_png` into another format with the same provenance inside.

    Args:
        png: bytes that `encode_png` made.
        target: "png" returns the bytes unchanged.
        quality: 0 to 100 for the lossy formats, None for `DEFAULT_QUALITY`.

    Raises:
        ValueError: the PNG carries no provenance.
    """
    if target == "png":
        return png
    provenance = read_provenance(png)
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = provenance.to_json()
    exif[ExifTags.Base.Software] = _SOFTWARE
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(
            out,
            format=target.upper(),
            quality=DEFAULT_QUALITY if quality is None else quality,
            exif=exif.tobytes(),
            xmp=_xmp(provenance).encode(),
            **_CODEC_OPTIONS[target],
        )
    return out.getvalue()


def read_provenance(data: bytes) -> Provenance:
    """Read the provenance back from an image in any of the three formats.

    Raises:
        ValueError: the image carries none.
    """
    with Image.open(io.BytesIO(data)) as image:
        text = image.info.get(_PARAMETERS_KEY) or image.getexif().get(
            ExifTags.Base.ImageDescription
        )
    if text is None:
        msg = "the image carries no generation parameters"
        raise ValueError(msg)
    return Provenance(**json.loads(text))


# No chroma subsampling in JPEG: on images of 32 pixels it would smear whole features.
# WebP's slowest search costs a few milliseconds and saves a tenth of the bytes.
_CODEC_OPTIONS: Mapping[Format, Mapping[str, int]] = MappingProxyType(
    {"webp": {"method": 6}, "jpeg": {"subsampling": 0}}
)


def _xmp(provenance: Provenance) -> str:
    description = escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", provenance.description))
    return _XMP.format(software=_SOFTWARE, source=DIGITAL_SOURCE_TYPE, description=description)
