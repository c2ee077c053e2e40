"""Bundles: the contract between training, export and serving.

A bundle is a self-contained folder: `manifest.json` says what it is and lists every other file with
its sha256, `denoiser.safetensors` holds the weights, `labels.json` the class names. It is written
aside and renamed, and nothing of it is read before its hash has been checked.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from pydantic import StringConstraints, ValidationError
from safetensors.torch import load_file, save_file

from model.denoisers.dimr import DiMR
from model.specs.base import ModelId, Spec
from model.specs.networks import DiMRSpec
from model.specs.process import ProcessSpec, SamplingDefaults
from model.specs.recipe import Recipe

FORMAT_VERSION = 1


class BundleRefused(ValueError):
    """A folder is not a bundle this version can use; the message says why and what to do."""


FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class FileEntry(Spec):
    """What a file of the bundle must be."""

    sha256: str
    size_bytes: int


class Label(Spec):
    """One class: its index is its place in labels.json."""

    name: str
    aliases: tuple[str, ...] = ()


class Manifest(Spec):
    """manifest.json."""

    format_version: Literal[1] = 1
    id: ModelId
    kind: Literal["dimr"]
    conditioning: tuple[Literal["class", "prompt"], ...]
    sizes: tuple[int, ...]
    description: str
    licence: str
    created: int
    network: DiMRSpec
    process: ProcessSpec
    sampling: SamplingDefaults
    provenance: Mapping[str, Any]
    evaluation: Mapping[str, Any] = {}
    files: Mapping[FileName, FileEntry]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory: checked, built, weights loaded in float32, evaluation mode."""

    manifest: Manifest
    labels: tuple[Label, ...]
    network: DiMR


def write_bundle(
    folder: Path,
    recipe: Recipe,
    network: torch.nn.Module,
    classes: Sequence[str],
    *,
    steps: int,
    aliases: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Path:
    """Write the weights of a trained network as a bundle, replacing `folder` as a whole.

    Args:
        folder: where the bundle goes; its parent is created.
        recipe: what it was trained by; recorded as provenance.
        network: the averaged network.
        classes: names in index order.
        steps: optimiser steps taken.
        aliases: other names of a class, by its name.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    weights = {name: value.float().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, aside / "denoiser.safetensors")
    (aside / "denoiser.safetensors").chmod(0o644)  # a worker may be another user
    labels = [{"name": name, "aliases": list(aliases.get(name, ()))} for name in classes]
    (aside / "labels.json").write_text(
        json.dumps(labels, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    size = recipe.network.size * recipe.process.codec.factor
    manifest = Manifest(
        id=recipe.id,
        kind="dimr",
        conditioning=("class",),
        sizes=(size,),
        description=recipe.description,
        licence=recipe.licence,
        created=int(time.time()),
        network=recipe.network,
        process=recipe.process,
        sampling=recipe.sampling,
        provenance={
            "data": recipe.data.model_dump(),
            "training": recipe.training.model_dump(),
            "steps": steps,
            "images_seen": steps * recipe.training.batch,
        },
        files={path.name: _entry(path) for path in sorted(aside.iterdir())},
    )
    write_manifest(aside, manifest)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a bundle atomically."""
    aside = folder / f".manifest.{os.getpid()}"
    aside.write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
    aside.replace(folder / "manifest.json")


def put_file(folder: Path, manifest: Manifest, name: str, content: str) -> Manifest:
    """Put a text into a bundle under this manifest; what it held by that name is replaced.

    The file is not listed while it changes, so the bundle is sound whenever this is interrupted.

    Returns:
        The manifest as written, with the file listed.
    """
    others = {key: entry for key, entry in manifest.files.items() if key != name}
    write_manifest(folder, manifest.model_copy(update={"files": others}))
    aside = folder / f".{name}.{os.getpid()}"
    aside.write_text(content, encoding="utf-8")
    aside.replace(folder / name)
    listed = manifest.model_copy(update={"files": others | {name: _entry(folder / name)}})
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
        return Manifest.model_validate(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not JSON: {error}"
        raise BundleRefused(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        msg = f"{path}: {field}: {first['msg']}, got {first['input']!r:.80}"
        raise BundleRefused(msg) from error


def load_bundle(folder: Path) -> Bundle:
    """Check every file against its hash, then build the network and load its weights.

    Raises:
        BundleRefused: a file is absent, changed or does not fit the manifest; names it.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest.files.items():
        _check(folder / name, entry)
    for name in ("denoiser.safetensors", "labels.json"):
        if name not in manifest.files:
            msg = f"{folder}/manifest.json: files: lacks {name}; restore the bundle from its source"
            raise BundleRefused(msg)
    labels = tuple(
        Label(**entry) for entry in json.loads((folder / "labels.json").read_text("utf-8"))
    )
    if len(labels) != manifest.network.classes:
        msg = (
            f"{folder}/labels.json: {len(labels)} classes; "
            f"the network has {manifest.network.classes}"
        )
        raise BundleRefused(msg)
    network = DiMR(manifest.network)
    try:
        network.load_state_dict(load_file(folder / "denoiser.safetensors"))
    except RuntimeError as error:
        msg = f"{folder}/denoiser.safetensors does not fit the manifest: {error}"
        raise BundleRefused(msg) from error
    return Bundle(manifest, labels, network.eval().requires_grad_(requires_grad=False))


def _entry(path: Path) -> FileEntry:
    content = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def _check(path: Path, entry: FileEntry) -> None:
    if not path.is_file():
        msg = f"{path}: listed in the manifest but absent; restore the bundle from its source"
        raise BundleRefused(msg)
    found = _entry(path).sha256
    if found != entry.sha256:
        msg = (
            f"{path}: sha256 {found[:12]}... differs from the manifest's {entry.sha256[:12]}...; "
            f"restore the bundle from its source"
        )
        raise BundleRefused(msg)
