"""From a bundle to engines in it: traced, compiled, put in place as a whole, or found there.

What is built lies aside, in a hidden folder of the bundle, until all of it is done. Then it is
renamed to files that nothing lists yet, their names carry a part of their key, and the manifest is
replaced, which is one rename: whenever a build is killed, the bundle is either as it was or as it
was to become. What a killed build left behind is removed by the next one. Builds of one bundle
exclude each other by a lock on its folder.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from export.compilers.errors import BundleBusy, PartUnknown
from export.compilers.interface import Compiled, Compiler
from export.compilers.keys import engine_there, key_of, sources_of
from export.compilers.options import Options, Progress
from export.compilers.report import BuildReport, PartReport
from export.compilers.resources import require_disk, require_memory
from export.graph.islands import present
from export.graph.parts import DENOISER, Part, parts_of
from export.graph.precision import Islands, Precision
from export.graph.trace import count_attentions, count_td_norms, to_onnx, weights_bytes, write_onnx
from model.bundle import file_entry, load_bundle, read_manifest, write_manifest
from model.specs.manifest import EngineEntry, Manifest

if TYPE_CHECKING:
    import onnx

ENGINES = "engines"
_ASIDE = ".building"
_KEY_DIGITS = 12  # of a key in a file's name
_UNFINISHED = re.compile(r"\.(.+)\.\d+$")  # as `model.files.write_whole` names files
_BUILT = re.compile(r"[a-z_]+(-\d+)?-[0-9a-f]{12}\.(onnx|plan)$")
_MEMORY_PER_WEIGHT = 3.0  # bytes for each of the bundle: as loaded, as traced and as written
_LEAST_TRACED = 64  # rows: a trace with room for few writes shapes that are fused less well


class BundleUnwritable(Exception):
    """A bundle's folder cannot be written."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder}: {reason}; allowed: a bundle that can be written")


def build(
    folder: Path,
    compiler: Compiler,
    options: Options,
    progress: Progress,
    *,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> BuildReport:
    """Compile parts of a bundle, and list the engines in its manifest.

    Args:
        folder: the bundle.
        compiler: what builds; `options.arch` is one of its targets.
        options: how.
        progress: is told how far it is.
        names: which parts; None are all.
        overwrite: replace engines of the same backend, architecture and precision that differ from
            what is asked for, or that were changed since they were built.

    Returns:
        What was built or found. The same bundle, options and library give the same key, and an
        engine of this key that is there already is kept.

    Raises:
        BundleRefused: it is no bundle, or a file of it was changed.
        BundleUnwritable: nothing can be written into it.
        CompilerRefused: see `export.compilers.errors`.
        GraphRefused: a part cannot be written as a graph; names the module and the op.
        OnnxAbsent: what writes ONNX is not installed.
    """
    manifest = read_manifest(folder)  # or it is no bundle, and nothing is locked
    with _aside(folder) as aside:
        _remove_unfinished(folder)
        engines = {entry.file for entry in manifest.engines}
        weights = sum(manifest.files[name].size_bytes for name in manifest.files.keys() - engines)
        require_memory(_MEMORY_PER_WEIGHT * weights, f"{folder} is not loaded")
        bundle = load_bundle(folder)
        parts = _chosen(parts_of(bundle), names)
        work = _Work(folder, bundle.manifest, aside, compiler, options, progress, overwrite)
        reports = tuple(work.done(part) for part in parts)
        with _writing(folder):
            _put(folder, [(r.entry, work.made(r.entry.part)) for r in reports if not r.hit])
    return BuildReport(bundle.manifest.id, options, reports)


def _chosen(parts: Sequence[Part], names: Sequence[str] | None) -> Sequence[Part]:
    """The parts of some names; "denoiser" stands for all of a layered one's."""
    if names is None:
        return parts
    named = {name: {part.name for part in parts if _is_of(part.name, name)} for name in names}
    unknown = [name for name, found in named.items() if not found]
    if unknown:
        raise PartUnknown(unknown, [part.name for part in parts])
    wanted = set[str]().union(*named.values())
    return [part for part in parts if part.name in wanted]


def _is_of(part: str, name: str) -> bool:
    return part == name or (name == DENOISER and part.startswith(f"{DENOISER}-"))


@dataclass(frozen=True, slots=True)
class _Work:
    """One build: what all its parts have in common."""

    folder: Path
    manifest: Manifest  # of the weights that were loaded
    aside: Path
    compiler: Compiler
    options: Options
    progress: Progress
    overwrite: bool

    def made(self, part: str) -> Path:
        """Where the engine of a part is made."""
        return self.aside / f"{part}{self.compiler.suffix}"

    def done(self, part: Part) -> PartReport:
        """Build a part aside, unless its engine is there."""
        begun = time.monotonic()
        compiler = self.compiler
        buckets = part.buckets(self.options.buckets)
        options = replace(self.options, buckets=buckets, most_rows=part.most_rows)
        self.progress.began(part.name, "tracing")
        part = compiler.prepared(part)
        model = compiler.marked(_traced(part, options), options)
        size, refused = weights_bytes(model), f"part {part.name!r} is not built"
        require_disk(self.aside, size, 0, refused)
        with _writing(self.folder):
            files = write_onnx(model, self.aside / f"{part.name}.onnx")
        entry = self._entry(part, files, options)
        there = engine_there(
            self.folder, read_manifest(self.folder), entry, overwrite=self.overwrite
        )
        if there is not None:
            return PartReport(there, time.monotonic() - begun, hit=True)
        require_memory(compiler.memory_per_weight * size, refused)
        more = (compiler.files_per_weight - 1) * size
        require_disk(self.aside, more, len(options.buckets), refused)
        compiled = compiler.compile(part, files[0], model, options, self.progress)
        made = self.made(part.name)
        if compiled.content is not None:
            with _writing(self.folder):
                made.write_bytes(compiled.content)
        entry = entry.model_copy(update={"report": _measured(model, made, compiled)})
        return PartReport(entry, time.monotonic() - begun, hit=False)

    def _entry(self, part: Part, graph: Sequence[Path], options: Options) -> EngineEntry:
        """What the manifest will list, but for what the build will measure."""
        compiler, sources = self.compiler, sources_of(self.manifest, part.name)
        key = key_of(sources, graph, compiler, options)
        kind = "-".join(filter(None, (compiler.backend, options.arch, options.precision)))
        return EngineEntry(
            part=part.name,
            backend=compiler.backend,
            precision=options.precision.value,
            arch=options.arch,
            library=compiler.name,
            key=key,
            sources=sources,
            batch_buckets=options.buckets,
            file=f"{ENGINES}/{kind}/{part.name}-{key[:_KEY_DIGITS]}{compiler.suffix}",
            norms=compiler.norms(options.norms),
            islands=present(part, Islands()) if options.precision is Precision.FP16 else (),
        )


def _traced(part: Part, options: Options) -> "onnx.ModelProto":
    most = options.most_rows or max(options.largest, _LEAST_TRACED)
    return to_onnx(part, precision=options.precision, max_batch=most, islands=Islands())


def _measured(model: "onnx.ModelProto", made: Path, compiled: Compiled) -> dict[str, object]:
    """What is kept of a build: the same for every build of the same."""
    fused: dict[str, object] = {"td_norms_single_kernel": None, "attentions_fused": None}
    if compiled.unknown is not None:
        fused["layers_unknown"] = compiled.unknown
    return {
        "td_norms": count_td_norms(model),
        "attentions": count_attentions(model),
        **(fused if compiled.fusion is None else compiled.fusion.document()),
        "nodes": len(model.graph.node),
        "plan_bytes": made.stat().st_size,
    }


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder of this build's own in a bundle that is locked meanwhile; gone afterwards.

    Raises:
        BundleBusy: another build has the bundle.
        BundleUnwritable: it cannot be written.
    """
    engines = folder / ENGINES
    aside = engines / _ASIDE
    with _locked(folder):
        existed = engines.exists()
        with _writing(folder):
            engines.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)  # of a build that was killed
            aside.mkdir()
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            if not existed and not any(engines.iterdir()):
                engines.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Have a folder to oneself.

    Raises:
        BundleBusy: somebody else has it.
        BundleUnwritable: it cannot be locked.
    """
    with _writing(folder):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BundleBusy(folder) from error
        except OSError as error:
            raise BundleUnwritable(folder, f"cannot be locked: {error.strerror}") from error
        yield
    finally:
        os.close(lock)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What goes wrong meanwhile is that a bundle cannot be written.

    Raises:
        BundleUnwritable: says why not.
    """
    try:
        yield
    except OSError as error:
        raise BundleUnwritable(folder, error.strerror or str(error)) from error


def _put(folder: Path, moved: Sequence[tuple[EngineEntry, Path]]) -> None:
    """List engines and remove those in whose place they are."""
    if moved:
        for entry, made in moved:
            target = folder / entry.file
            target.parent.mkdir(exist_ok=True)
            made.chmod(0o644)  # a worker may be another user
            _sync(made)
            made.replace(target)
        manifest = read_manifest(folder)
        builds = {entry.build for entry, _ in moved}
        kept = [entry for entry in manifest.engines if entry.build not in builds]
        gone = {entry.file for entry in manifest.engines} - {entry.file for entry in kept}
        files = {name: entry for name, entry in manifest.files.items() if name not in gone}
        files |= {entry.file: file_entry(folder / entry.file) for entry, _ in moved}
        engines = sorted([*kept, *(entry for entry, _ in moved)], key=lambda entry: entry.file)
        update = {"files": files, "engines": tuple(engines)}
        write_manifest(folder, manifest.model_copy(update=update))
    _remove_unlisted(folder)


def _sync(path: Path) -> None:
    """Have a file on the disk before anything lists it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_unfinished(folder: Path) -> None:
    """Remove what those who were killed had not renamed yet; whoever writes has the lock."""
    ours = {folder / name for name in ("manifest.json", *read_manifest(folder).files)}
    for path in folder.rglob(".*"):
        name = _UNFINISHED.match(path.name)
        if name is not None and path.with_name(name[1]) in ours and path.is_file():
            path.unlink(missing_ok=True)


def _remove_unlisted(folder: Path) -> None:
    """Remove engines that the manifest does not list: replaced, or of a build that was killed."""
    listed = read_manifest(folder).files
    for path in sorted((folder / ENGINES).glob("[!.]*/*")):
        unlisted = path.relative_to(folder).as_posix() not in listed
        if unlisted and _BUILT.match(path.name) and path.is_file():
            path.unlink()
    for place in (folder / ENGINES).glob("[!.]*"):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
