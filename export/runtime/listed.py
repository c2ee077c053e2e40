"""The engines that a bundle lists: complete sets of parts that were built alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.runtime.refusal import EngineRefused
from export.runtime.site import Site
from model.bundle import BundleRefused, check_file
from model.specs.manifest import EngineEntry, Manifest


@dataclass(frozen=True, slots=True)
class Listed:
    """Parts of one build; all the denoiser's are among them.

    Attributes:
        folder: the bundle.
        entries: by part.
        denoiser: the names of the denoiser's parts, of the lowest scale, the two lowest, and so on.
    """

    folder: Path
    entries: Mapping[str, EngineEntry]
    denoiser: tuple[str, ...]

    @property
    def backend(self) -> str:
        """What it was built for."""
        return self._any.backend

    @property
    def precision(self) -> str:
        """What it computes in, as cards say it."""
        return {"fp32": "float32", "fp16": "float16"}[self._any.precision]

    @property
    def arch(self) -> str | None:
        """The GPU architecture it was built for, e.g. "sm80"."""
        return self._any.arch

    @property
    def library(self) -> str:
        """Name and version of what built it, e.g. "tensorrt_rtx 1.7.1.116"."""
        return self._any.library

    @property
    def buckets(self) -> tuple[int, ...]:
        """Rows that a call of any of the denoiser's parts may have, rising."""
        shared = (frozenset(self.entries[part].batch_buckets) for part in self.denoiser)
        return tuple(sorted(frozenset.intersection(*shared)))

    def path(self, part: str) -> Path:
        """Where the engine of a part lies."""
        return self.folder / self.entries[part].file

    @property
    def _any(self) -> EngineEntry:
        return self.entries[self.denoiser[0]]


def listed(
    site: Site, engine: str, backends: Sequence[str], parts: Sequence[str]
) -> tuple[Listed, ...]:
    """Every complete set of some backends; of those, FP16 ones last.

    Args:
        site: whose bundle lists them.
        engine: what they are for, as an operator calls it.
        backends: those that this engine can run.
        parts: the names of the denoiser's, all of which a set must have.

    Raises:
        EngineRefused: there is none; says which part is missing, and what to run.
    """
    folder, manifest = site.folder, site.bundle.manifest
    builds: dict[tuple[str, str, str | None, str], dict[str, EngineEntry]] = {}
    for entry in manifest.engines:
        if entry.backend in backends:
            build = (entry.backend, entry.precision, entry.arch, entry.library)
            builds.setdefault(build, {})[entry.part] = entry
    complete = [
        Listed(folder, entries, tuple(parts))
        for entries in builds.values()
        if entries.keys() >= set(parts)
    ]
    if not complete:
        reason = _lack(manifest, builds.values(), parts)
        again = build_command(folder, engine)
        raise EngineRefused(engine, reason, f"{again} --overwrite" if builds else again)
    return tuple(sorted(complete, key=lambda found: found.precision, reverse=True))


def check_build(build: Listed, manifest: Manifest, engine: str) -> None:
    """Read every file of a build against its hash; `load_bundle` leaves that to whoever runs it.

    Raises:
        BundleRefused: a file is absent or was changed.
        EngineRefused: the bundle's weights are others than it was made of, or it was verified and
            failed.
    """
    for part, entry in build.entries.items():
        if entry.failed:
            reason = f"{entry.file} differed too much from PyTorch when it was verified ({part})"
            again = f"run: dimr-export verify {build.folder} --engine {engine}"
            raise EngineRefused(engine, reason, f"{again}; or {rebuild_command(build)[5:]}")
        for name, sha256 in entry.sources.items():
            if name not in manifest.files or manifest.files[name].sha256 != sha256:
                reason = f"{entry.file} was made of another {name} than the bundle's ({part})"
                raise EngineRefused(engine, reason, rebuild_command(build))
        try:
            check_file(build.folder, entry.file, manifest.files[entry.file])
        except BundleRefused as error:
            msg = f"engine {engine!r}: {error}; or {rebuild_command(build)}"
            raise BundleRefused(msg) from error


def build_command(folder: Path, engine: str) -> str:
    """What to run so that the bundle has this engine, for the architecture that suits here."""
    return f"run: dimr-export build {folder} --backend {engine}"


def rebuild_command(build: Listed) -> str:
    """What to run so that the bundle has another build in place of this one."""
    target = "" if build.arch is None else f" --arch {build.arch}"
    return f"{build_command(build.folder, build.backend)}{target} --overwrite"


def _lack(
    manifest: Manifest, builds: Iterable[Mapping[str, EngineEntry]], parts: Sequence[str]
) -> str:
    """Why no set is complete."""
    best = max((build.keys() for build in builds), key=len, default=None)
    if best is None:
        return f"bundle {manifest.id!r} has no such engine"
    missing = ", ".join(part for part in parts if part not in best)
    return f"bundle {manifest.id!r} has no such engine of its part {missing}"
