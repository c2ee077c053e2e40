"""What a verification found, kept in the manifest beside the engines that it holds for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.compilers.build import BundleUnwritable
from export.parity.report import ParityReport
from model.bundle import read_manifest, write_manifest
from model.files import locked
from model.specs.manifest import EngineEntry


class MeasuredLess(Exception):
    """An engine passed that failed before, by more images or steps."""

    def __init__(self, entry: EngineEntry) -> None:
        assert entry.parity is not None
        samples, steps = (entry.parity.get(name) for name in ("samples", "steps"))
        super().__init__(
            f"{entry.file} failed with {samples} samples of {steps} steps; allowed in its place: "
            f"what was found by as many of both, or more"
        )


def record(folder: Path, verified: Sequence[EngineEntry], report: ParityReport) -> list[str]:
    """Replace the manifest by one that holds the figures, at once; a build is waited for.

    Engines that were replaced since they were verified are left alone, and so are parts of which
    nothing was measured.

    Returns:
        The files of the engines that have figures now.

    Raises:
        BundleRefused: it is no bundle any more.
        BundleUnwritable: the bundle cannot be written.
        MeasuredLess: it would wipe out a failure that took more to find; nothing is kept.
    """
    measured = {entry.key: report.entry(entry.part) for entry in verified}
    figures = {key: found for key, found in measured.items() if found is not None}
    if not figures:
        return []
    try:
        with locked(folder):
            manifest = read_manifest(folder)
            kept = [entry for entry in manifest.engines if entry.key in figures]
            for entry in kept:
                if entry.failed and _is_less(figures[entry.key], entry.parity or {}):
                    raise MeasuredLess(entry)
            if kept:
                engines = tuple(
                    entry.model_copy(update={"parity": figures[entry.key]})
                    if entry in kept
                    else entry
                    for entry in manifest.engines
                )
                write_manifest(folder, manifest.model_copy(update={"engines": engines}))
    except OSError as error:
        raise BundleUnwritable(folder, error.strerror or str(error)) from error
    return [entry.file for entry in kept]


def _is_less(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a pass was found by fewer images or steps than a failure."""
    return now["passed"] is True and any(
        now.get(name, 0) < before.get(name, 0) for name in ("samples", "steps")
    )
