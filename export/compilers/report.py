"""What a build says of itself: each part, and their sums."""

from dataclasses import dataclass
from typing import Any

from export.compilers.options import Options
from model.specs.manifest import EngineEntry


@dataclass(frozen=True, slots=True)
class PartReport:
    """What became of one part.

    Attributes:
        entry: as the manifest lists it.
        seconds: that it took, tracing included.
        hit: whether an engine of the same key was there.
    """

    entry: EngineEntry
    seconds: float
    hit: bool

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        entry = self.entry
        return {
            "part": entry.part,
            "file": entry.file,
            "key": entry.key,
            "cache_hit": self.hit,
            "seconds": round(self.seconds, 3),
            **entry.report,
        }


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What became of all parts that were asked for, at least one."""

    bundle_id: str
    options: Options
    parts: tuple[PartReport, ...]

    def document(self) -> dict[str, Any]:
        """As JSON has it: sums over parts, null where a backend does not tell; then each part."""
        first = self.parts[0].entry
        return {
            "bundle_id": self.bundle_id,
            "backend": first.backend,
            "arch": first.arch,
            "precision": first.precision,
            "library": first.library,
            "batch_buckets": list(first.batch_buckets),
            "workspace_mib": self.options.workspace_mib,
            "cache_hit": all(part.hit for part in self.parts),
            "td_norms": self._sum("td_norms"),
            "td_norms_single_kernel": self._sum("td_norms_single_kernel"),
            "attentions": self._sum("attentions"),
            "attentions_fused": self._sum("attentions_fused"),
            "seconds": round(sum(part.seconds for part in self.parts), 3),
            "plan_bytes": self._sum("plan_bytes"),
            "parts": [part.document() for part in self.parts],
        }

    def _sum(self, field: str) -> int | None:
        values = [part.entry.report[field] for part in self.parts]
        return None if None in values else sum(values)
