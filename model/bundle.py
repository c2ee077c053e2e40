"""Bundles: the contract between training, export and serving.

A bundle is a self-contained folder: `manifest.json` says what it is and lists every other file with
its sha256, `denoiser.safetensors` holds the weights, `labels.json` the class names, `autoencoder/`
of a latent model what decodes its latents, `text_encoder/` of a prompt model what reads prompts,
unless that comes with a package, `engines/` what was compiled of it. It is written aside and
renamed, and nothing of it is used before its hash has been checked; engines are checked by what
runs them.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.autoencoder import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    AutoencoderRefused,
    Codec,
    LatentCodec,
    PixelCodec,
    load_autoencoder,
)
from model.denoisers.build import Denoiser, build_denoiser
from model.denoisers.weights import with_weights
from model.files import file_sha256, locked, write_whole
from model.specs.agreement import image_sizes
from model.specs.faults import described
from model.specs.layered import LayeredSpec
from model.specs.manifest import FileEntry, Label, Manifest
from model.specs.networks import NetworkSpec
from model.specs.process import LatentsSpec, PixelsSpec
from model.specs.recipe import Recipe
from model.specs.text import TextEncoderIdentity
from model.text.encoder import EncoderRefused, TextEncoder
from model.text.prompts import Prompts
from model.text.stored import open_stored, store

FORMAT_VERSION = 1
DENOISER, LABELS, AUTOENCODER = "denoiser.safetensors", "labels.json", "autoencoder"
TEXT_ENCODER = "text_encoder"
DECODER_PART = "decoder"  # an autoencoder as engines name it
AUTOENCODER_FILES = (f"{AUTOENCODER}/{CONFIG_NAME}", f"{AUTOENCODER}/{WEIGHTS_NAME}")


class BundleRefused(ValueError):
    """A folder is not a bundle this version can use; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory: checked, built, weights loaded in float32, evaluation mode."""

    manifest: Manifest
    labels: tuple[Label, ...]
    network: Denoiser
    autoencoder: LatentCodec | None = None
    prompts: Prompts | None = None

    def to(self, device: torch.device) -> None:
        """Move the network to a device."""
        self.network.to(device)

    @property
    def codec(self) -> Codec:
        """What turns the network's tensors into images.

        Raises:
            BundleRefused: a latent model without its autoencoder; says what to run.
        """
        match self.manifest.process.codec:
            case PixelsSpec() as spec:
                return PixelCodec(spec)
            case LatentsSpec():
                if self.autoencoder is None:
                    msg = (
                        f"bundle {self.manifest.id!r} has no autoencoder to decode its latents "
                        f"with; add one: dimr-export add-autoencoder BUNDLE SOURCE"
                    )
                    raise BundleRefused(msg)
                return self.autoencoder


def write_bundle(  # noqa: PLR0913  # each is one part of a bundle
    folder: Path,
    recipe: Recipe,
    network: torch.nn.Module,
    classes: Sequence[str],
    *,
    steps: int,
    aliases: Mapping[str, Sequence[str]] = MappingProxyType({}),
    autoencoder: LatentCodec | None = None,
    prompts: Prompts | None = None,
    stacked_on: Mapping[str, object] | None = None,
) -> Path:
    """Write the weights of a trained network as a bundle, replacing `folder` as a whole.

    Args:
        folder: where the bundle goes; its parent is created.
        recipe: what it was trained by; recorded as provenance.
        network: the averaged network.
        classes: names in index order; none of a prompt model.
        steps: optimiser steps taken.
        aliases: other names of a class, by its name.
        autoencoder: of a latent model; it can be added later.
        prompts: of a prompt model, with the encoder it was trained with.
        stacked_on: what its lower scales came from, where they were trained before.

    Raises:
        BundleRefused: a prompt model without an encoder that makes its states, or a class model
            with one.
        EncoderRefused: see `put_bundle`.
    """
    text = None if prompts is None else prompts.identity
    _require_conditions(folder, recipe.network, len(classes), text)
    manifest = Manifest(
        id=recipe.id,
        kind=recipe.network.kind,
        conditioning=("class",) if text is None else ("prompt",),
        sizes=image_sizes(recipe.network, recipe.process),
        description=recipe.description,
        licence=recipe.licence,
        created=int(time.time()),
        network=recipe.network,
        process=recipe.process,
        sampling=recipe.sampling,
        text=text,
        provenance={
            "data": recipe.data.model_dump(),
            "training": recipe.training.model_dump(),
            "steps": steps,
            "images_seen": steps * recipe.training.batch,
            **({} if stacked_on is None else {"stacked_on": dict(stacked_on)}),
        },
    )
    labels = [Label(name=name, aliases=tuple(aliases.get(name, ()))) for name in classes]
    encoder = None if prompts is None else prompts.encoder
    return put_bundle(folder, manifest, labels, network.state_dict(), autoencoder, encoder)


def put_bundle(
    folder: Path,
    manifest: Manifest,
    labels: Sequence[Label],
    weights: Mapping[str, Tensor],
    autoencoder: LatentCodec | None,
    encoder: TextEncoder | None = None,
) -> Path:
    """Write a bundle, replacing `folder` as a whole; an interruption leaves what was there.

    Args:
        folder: where the bundle goes; its parent is created.
        manifest: what it is; its `files` are put in here.
        labels: the classes in index order.
        weights: of the network, by our names; stored in float32.
        autoencoder: of a latent model, if at hand.
        encoder: of a prompt model.

    Raises:
        EncoderRefused: the encoder's files were changed or removed since it was opened.
    """
    target = folder.resolve()
    aside, old = (target.with_name(f".{target.name}.{os.getpid()}{end}") for end in ("", ".old"))
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        stored = {name: value.float().contiguous() for name, value in weights.items()}
        save_file(stored, aside / DENOISER)
        (aside / DENOISER).chmod(0o644)  # a worker may be another user
        entries = [{"name": label.name, "aliases": list(label.aliases)} for label in labels]
        text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
        copied = [] if encoder is None else store(encoder, aside / TEXT_ENCODER)
        names = [DENOISER, *(f"{TEXT_ENCODER}/{name}" for name in copied)]
        written = {name: file_entry(aside / name) for name in names}
        manifest = manifest.model_copy(update={"files": written})
        decoder = {} if autoencoder is None else _placed(autoencoder)
        put_files(aside, manifest, {LABELS: text.encode(), **decoder})
        if target.exists():
            target.rename(old)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def add_autoencoder(folder: Path, source: str) -> Manifest:
    """Give a latent bundle its autoencoder, or another one in place of the one it has.

    What others put into the bundle while the autoencoder was fetched stays; a build is waited for.

    Args:
        folder: the bundle.
        source: see `model.autoencoder.load_autoencoder`.

    Returns:
        The manifest as written.

    Raises:
        BundleRefused: it is no bundle, or its model has no latents.
        AutoencoderRefused: see `model.autoencoder.load_autoencoder`.
    """
    spec = read_manifest(folder).process.codec
    if not isinstance(spec, LatentsSpec):
        msg = f"{folder}: process.codec: got {spec.kind!r}; allowed: 'latents', only they need one"
        raise BundleRefused(msg)
    placed = _placed(load_autoencoder(source, spec))
    with locked(folder):
        return put_files(folder, _without_decoders(read_manifest(folder)), placed)


def _without_decoders(manifest: Manifest) -> Manifest:
    """A manifest without what was compiled of an autoencoder."""
    gone = {entry.file for entry in manifest.engines if entry.part == DECODER_PART}
    files = {name: entry for name, entry in manifest.files.items() if name not in gone}
    engines = tuple(entry for entry in manifest.engines if entry.file not in gone)
    return manifest.model_copy(update={"files": files, "engines": engines})


def _placed(autoencoder: LatentCodec) -> dict[str, bytes]:
    """Its files by their names in a bundle."""
    return {f"{AUTOENCODER}/{name}": content for name, content in autoencoder.files().items()}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a bundle atomically; where others may, under its lock."""
    content = (manifest.model_dump_json(indent=1) + "\n").encode()
    write_whole(folder / "manifest.json", content, owner=0)  # what was killed is overwritten


def put_file(folder: Path, manifest: Manifest, name: str, content: str) -> Manifest:
    """Put a text into a bundle when its turn comes; see `put_files`."""
    with locked(folder):
        return put_files(folder, manifest, {name: content.encode()})


def put_files(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Manifest:
    """Put files into a bundle under this manifest, in place of what it held by their names.

    They are not listed while they change, so the bundle is sound whenever this is interrupted.

    Returns:
        The manifest as written, with the files listed.
    """
    others = {name: entry for name, entry in manifest.files.items() if name not in contents}
    write_manifest(folder, manifest.model_copy(update={"files": others}))
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_whole(folder / name, content)
    entries = {name: file_entry(folder / name) for name in contents}
    listed = manifest.model_copy(update={"files": others | entries})
    write_manifest(folder, listed)
    return listed


def read_manifest(folder: Path) -> Manifest:
    """Read and validate manifest.json, without looking at the other files.

    Raises:
        BundleRefused: absent, of another format version, or malformed.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        msg = f"{folder} is no bundle: it has no manifest.json (dimr-train writes bundles)"
        raise BundleRefused(msg)
    try:
        raw = json.loads(path.read_text("utf-8"))
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version != FORMAT_VERSION:
            msg = (
                f"{path}: format_version: got {version!r}; allowed: {FORMAT_VERSION} "
                f"(write the bundle again with this version's dimr-train)"
            )
            raise BundleRefused(msg)
        manifest = Manifest.model_validate(raw)
        manifest.model_dump_json()  # a text that cannot be written again is none
    except ValidationError as error:
        msg = f"{path}: {described(error.errors()[0])}"
        raise BundleRefused(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not JSON: {error}"
        raise BundleRefused(msg) from error
    return manifest


def load_bundle(folder: Path) -> Bundle:
    """Check every file but engines against its hash, build the network and load its weights.

    Raises:
        BundleRefused: a file is absent, changed or does not fit the manifest; names it.
    """
    manifest = read_manifest(folder)
    engines = {entry.file for entry in manifest.engines}
    for name, entry in manifest.files.items():
        if name not in engines:
            check_file(folder, name, entry)
    _require(folder, manifest, (DENOISER, LABELS))
    labels = tuple(Label(**entry) for entry in json.loads((folder / LABELS).read_text("utf-8")))
    _require_conditions(folder, manifest.network, len(labels), manifest.text)
    weights = load_file(folder / DENOISER)
    try:
        network = with_weights(lambda: build_denoiser(manifest.network), weights)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        msg = f"{folder}/{DENOISER} does not fit the manifest: {said:.400}"
        raise BundleRefused(msg) from error
    network.eval().requires_grad_(requires_grad=False)
    autoencoder, prompts = _autoencoder(folder, manifest), _prompts(folder, manifest)
    return Bundle(manifest, labels, network, autoencoder, prompts)


def _autoencoder(folder: Path, manifest: Manifest) -> LatentCodec | None:
    """The autoencoder that the manifest lists, if any."""
    spec = manifest.process.codec
    if not (isinstance(spec, LatentsSpec) and manifest.files.keys() & set(AUTOENCODER_FILES)):
        return None
    _require(folder, manifest, AUTOENCODER_FILES)
    try:
        return load_autoencoder(str(folder / AUTOENCODER), spec)
    except AutoencoderRefused as error:
        raise BundleRefused(str(error)) from error


def _prompts(folder: Path, manifest: Manifest) -> Prompts | None:
    """What reads the prompts of a prompt model, by the encoder it was trained with."""
    text, network = manifest.text, manifest.network
    if text is None or not isinstance(network, LayeredSpec):
        return None
    encoders = f"{TEXT_ENCODER}/"
    listed = {name.removeprefix(encoders) for name in manifest.files if name.startswith(encoders)}
    try:
        return Prompts(open_stored(text, folder / TEXT_ENCODER, listed), network.text.tokens)
    except EncoderRefused as error:
        msg = f"{folder}: {error}"
        raise BundleRefused(msg) from error


def _require_conditions(
    where: Path, network: NetworkSpec, classes: int, text: TextEncoderIdentity | None
) -> None:
    """Raise BundleRefused unless these classes, or this text encoder, are what a network reads."""
    wanted, width = (
        (0, network.text.width) if isinstance(network, LayeredSpec) else (network.classes, None)
    )
    if classes != wanted:
        msg = f"{where}/{LABELS}: {classes} classes; the network has {wanted}"
        raise BundleRefused(msg)
    found = None if text is None else text.width
    if found != width:
        msg = (
            f"{where}/manifest.json: text: got {_encoder_of(found)}; "
            f"allowed: {_encoder_of(width)}, as the network reads"
        )
        raise BundleRefused(msg)


def _encoder_of(width: int | None) -> str:
    return "no text encoder" if width is None else f"a text encoder of width {width}"


def _require(folder: Path, manifest: Manifest, names: Sequence[str]) -> None:
    for name in names:
        if name not in manifest.files:
            msg = f"{folder}/manifest.json: files: lacks {name}; restore the bundle from its source"
            raise BundleRefused(msg)


def file_entry(path: Path) -> FileEntry:
    """What the manifest is to list of a file."""
    return FileEntry(sha256=file_sha256(path), size_bytes=path.stat().st_size)


def check_file(folder: Path, name: str, entry: FileEntry) -> None:
    """Compare a file of a bundle with its hash.

    Raises:
        BundleRefused: it is absent or was changed; names it.
    """
    path = folder / name
    if not path.is_file():
        msg = f"{path}: listed in the manifest but absent; restore the bundle from its source"
        raise BundleRefused(msg)
    found = file_entry(path).sha256
    if found != entry.sha256:
        msg = (
            f"{path}: sha256 {found[:12]}... differs from the manifest's {entry.sha256[:12]}...; "
            f"restore the bundle from its source"
        )
        raise BundleRefused(msg)
