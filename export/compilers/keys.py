"""When an engine that a bundle has may stand for one that is asked for."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.compilers.errors import EngineInTheWay
from export.compilers.interface import Compiler
from export.compilers.options import Options
from export.graph.parts import DECODER, TEXT_ENCODER
from model.bundle import AUTOENCODER, DENOISER, BundleRefused, check_file, file_entry
from model.bundle import TEXT_ENCODER as TEXT_ENCODER_FOLDER
from model.specs.manifest import EngineEntry, Manifest

_RECIPE = 2  # of how libraries are asked to build; another one when that changes


def sources_of(manifest: Manifest, part: str) -> dict[str, str]:
    """Hashes of the files that a part is made of."""
    made_of = {DECODER: f"{AUTOENCODER}/", TEXT_ENCODER: f"{TEXT_ENCODER_FOLDER}/"}
    prefix = made_of.get(part, DENOISER)
    return {
        name: entry.sha256
        for name, entry in sorted(manifest.files.items())
        if name.startswith(prefix)
    }


def key_of(
    sources: Mapping[str, str], graph: Sequence[Path], compiler: Compiler, options: Options
) -> str:
    """What two builds have in common if and only if their engines may stand for each other."""
    facts = {
        "recipe": _RECIPE,
        "weights": dict(sources),
        "graph": [file_entry(path).sha256 for path in graph],
        "backend": compiler.backend,
        "library": compiler.name,
        "arch": options.arch,
        "precision": options.precision.value,
        "buckets": options.buckets,
        "workspace_mib": options.workspace_mib,
        "norms": compiler.norms(options.norms),
        "made_with": dict(compiler.made_with),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def engine_there(
    folder: Path, manifest: Manifest, wanted: EngineEntry, *, overwrite: bool
) -> EngineEntry | None:
    """The engine of this key, if it is there and sound.

    Raises:
        EngineInTheWay: there is one of another key, and it is not to be overwritten.
        BundleRefused: it was changed, and is not to be overwritten.
    """
    found = next((entry for entry in manifest.engines if entry.build == wanted.build), None)
    if found is None:
        return None
    if found.key != wanted.key:
        if overwrite:
            return None
        raise EngineInTheWay(folder / found.file, _difference(found, wanted))
    try:
        check_file(folder, found.file, manifest.files[found.file])
    except BundleRefused as error:
        if overwrite:
            return None
        msg = f"{folder / found.file}: absent or changed since it was built; replace it with "
        msg += "--overwrite"
        raise BundleRefused(msg) from error
    return found


def _difference(found: EngineEntry, wanted: EngineEntry) -> str:
    """What is not the same about two engines, the first thing that is."""
    if found.sources != wanted.sources:
        return "was built of other weights"
    if found.library != wanted.library:
        return f"was built by {found.library}, not {wanted.library}"
    if found.batch_buckets != wanted.batch_buckets:
        before, now = (",".join(map(str, e.batch_buckets)) for e in (found, wanted))
        return f"takes {before} rows, not {now}"
    if found.norms != wanted.norms:
        return f"has norms by {found.norms}, not {wanted.norms}"
    return "was built of another graph, with another workspace, or on another GPU"
