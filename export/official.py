"""The authors' checkpoints as bundles."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from export.checkpoint import CheckpointRefused, read_checkpoint
from model.autoencoder import load_autoencoder
from model.bundle import put_bundle
from model.data.imagenet.classes import imagenet_classes
from model.data.images.classes import Classes
from model.denoisers.dimr import DiMR
from model.denoisers.official import from_state_dict, state_dicts
from model.specs.manifest import Label, Manifest
from model.specs.process import (
    CodecSpec,
    DiscreteScheduleSpec,
    LatentsSpec,
    PixelsSpec,
    Prediction,
    ProcessSpec,
    SamplingDefaults,
)

IMAGENET_CLASSES = 1000
CHUNK_BYTES = 16 << 20

# A whole n of 1000 in training; the evaluation script's solver starts at 1 and ends at 1/1000.
_T_MIN, _T_MAX = 0.001, 1.0
# Single-step solver of order 3, uniform in time; 250 calls with c + 0.4 (c - u) for latents, while
# the paper's 64-pixel figures are from 50 without guidance.
_LATENT_SAMPLING = SamplingDefaults(
    sampler="dpmpp_3s", grid="time", final="t_end", steps=250, guidance=1.4
)
_PIXEL_SAMPLING = _LATENT_SAMPLING.model_copy(update={"steps": 50, "guidance": 1.0})
_PROVENANCE = {
    "imported": "from the authors' layout",
    "paper": "arXiv:2406.09416",
    "repository": "qihao067/DiMR",
    "code_licence": "Apache-2.0 by the headers of the authors' code",
}

OnStage = Callable[[str], None]
OnBytes = Callable[[int], None]


class OutputUnwritable(Exception):
    """The folder of a bundle cannot be written; says why, and not what stood there meanwhile."""

    def __init__(self, out: Path, reason: str) -> None:
        super().__init__(
            f"argument --out: got {out}: {reason}; allowed: a folder that can be written"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What is said about a checkpoint that it does not say itself.

    Attributes:
        heads: attention heads of every Transformer stage, or of each in order.
        place: which of several state dicts, as `state_dicts` names it; None where there is one.
        id: of the bundle; None makes one of the checkpoint's name.
        description: None makes one of the sizes.
        licence: of the weights.
        classes: None stands for ImageNet's where there are 1000, else for "class 0" and so on.
        codec: what the channels are, whose number it need not have; None recognises 4 as latents
            and 3 as pixels.
        autoencoder: see `model.autoencoder.load_autoencoder`; None leaves it out.
    """

    heads: Sequence[int]
    place: str | None
    id: str | None
    description: str | None
    licence: str
    classes: Classes | None
    codec: CodecSpec | None
    autoencoder: str | None


def import_official(
    checkpoint: Path, out: Path, said: Import, on_stage: OnStage, on_bytes: OnBytes
) -> Manifest:
    """Write a bundle from a checkpoint in the authors' layout, replacing `out` as a whole.

    Args:
        checkpoint: see `export.checkpoint.read_checkpoint`.
        out: folder of the bundle.
        said: what the checkpoint does not say.
        on_stage: told what begins: "reading", "hashing" and so on.
        on_bytes: told of bytes of the checkpoint that this stage has been through.

    Returns:
        The manifest without its files.

    Raises:
        CheckpointRefused: it cannot be read safely, or what was said does not fit it.
        LayoutMismatch: its tensors are not those of a DiMR; names them.
        AutoencoderRefused: the autoencoder cannot be loaded or does not fit.
        OutputUnwritable: the bundle cannot be written.
        OSError: the checkpoint cannot be read at all.
    """
    on_stage("reading")
    network = _network(checkpoint, said, on_bytes)
    codec = _codec_for(network.spec.channels, said.codec)
    labels = _labels(said.classes, network.spec.classes)
    autoencoder = None
    if said.autoencoder is not None:
        if not isinstance(codec, LatentsSpec):
            msg = f"autoencoder: got {said.autoencoder!r}; allowed: none for a model of pixels"
            raise CheckpointRefused(msg)
        on_stage("loading the autoencoder")
        autoencoder = load_autoencoder(said.autoencoder, codec)
    on_stage("hashing")
    digest = sha256_of(checkpoint, on_bytes)
    manifest = _manifest(checkpoint, digest, network, codec, said)
    on_stage("writing")
    try:
        put_bundle(out, manifest, labels, network.state_dict(), autoencoder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or "its weights cannot be written"
        raise OutputUnwritable(out, reason) from error
    return manifest


def sha256_of(path: Path, on_bytes: OnBytes) -> str:
    """Hash a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def _network(checkpoint: Path, said: Import, on_bytes: OnBytes) -> DiMR:
    content = read_checkpoint(checkpoint, on_bytes)
    found = state_dicts(content)
    heads = said.heads[0] if len(said.heads) == 1 else said.heads
    if len(found) < 2 and said.place is None:
        return from_state_dict(content, num_heads=heads)
    if said.place in found:
        return from_state_dict(found[said.place], num_heads=heads)
    places = ", ".join(found) or "none"
    msg = f"{checkpoint} holds these state dicts: {places}; choose one with --key"
    if said.place is not None:
        msg = f"argument --key: got {said.place!r}; allowed: one of {places}"
    raise CheckpointRefused(msg)


def _codec_for(channels: int, said: CodecSpec | None) -> CodecSpec:
    """What the channels are: as said, or what the authors' models have, latents of 4 or pixels."""
    match said:
        case LatentsSpec():
            return said.model_copy(update={"channels": channels})
        case PixelsSpec() if channels == 3 * said.factor**2:
            return said
        case PixelsSpec():
            msg = (
                f"argument --codec: got pixels:{said.factor}, {3 * said.factor**2} channels; "
                f"allowed: what has the checkpoint's {channels}"
            )
        case None if channels == LatentsSpec().channels:
            return LatentsSpec()
        case None if channels == 3:
            return PixelsSpec()
        case None:
            msg = (
                f"the checkpoint has {channels} channels, neither latents of 4 nor pixels of 3; "
                f"say what they are: --codec latents:FACTOR or --codec pixels:FACTOR"
            )
    raise CheckpointRefused(msg)


def _labels(classes: Classes | None, count: int) -> list[Label]:
    if classes is None and count == IMAGENET_CLASSES:
        classes = imagenet_classes()
    if classes is None:
        classes = Classes(tuple(f"class {index}" for index in range(count)))
    if len(classes.names) != count:
        msg = f"argument --labels: got {len(classes.names)} classes; allowed: the model's {count}"
        raise CheckpointRefused(msg)
    return [Label(name=name, aliases=classes.aliases.get(name, ())) for name in classes.names]


def _manifest(
    checkpoint: Path, digest: str, network: DiMR, codec: CodecSpec, said: Import
) -> Manifest:
    spec = network.spec
    size = spec.size * codec.factor
    return Manifest(
        id=said.id or _id_for(checkpoint),
        kind=spec.kind,
        conditioning=("class",),
        sizes=(size,),
        description=said.description or _described(network, size),
        licence=said.licence,
        created=int(time.time()),
        network=spec,
        process=ProcessSpec(
            codec=codec,
            schedule=DiscreteScheduleSpec(),
            prediction=Prediction.NOISE,
            t_min=_T_MIN,
            t_max=_T_MAX,
        ),
        sampling=_LATENT_SAMPLING if isinstance(codec, LatentsSpec) else _PIXEL_SAMPLING,
        provenance={**_PROVENANCE, "file": checkpoint.name, "sha256": digest},
    )


def _id_for(checkpoint: Path) -> str:
    """The checkpoint's name as far as an id may have it."""
    name = re.sub(r"[^a-z0-9._-]+", "-", checkpoint.stem.lower()).strip("._-")
    if not name:
        msg = f"{checkpoint.name} makes no id; say one with --id"
        raise CheckpointRefused(msg)
    return name


def _described(network: DiMR, size: int) -> str:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return (
        f"DiMR of {len(network.spec.stages)} branches and {parameters:,} parameters, "
        f"{network.spec.classes} classes at {size} x {size} pixels, by its authors "
        f"(arXiv:2406.09416)."
    )
