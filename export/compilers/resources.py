"""Whether there is room for a build, asked before it begins."""

import os
import resource
import shutil
from pathlib import Path

from export.compilers.errors import MIB, ResourceShort

_MEMORY_BYTES = 512 * MIB  # of the compiler itself
_FILES_BYTES = 16 * MIB  # of a plan without weights
_PROFILE_BYTES = 8 * MIB  # of each further bucket's kernels
_CGROUP = Path("/sys/fs/cgroup")


def require_memory(weights_bytes: float, refused: str) -> None:
    """Refuse a build that would run out of memory.

    Args:
        weights_bytes: what it takes beside the compiler itself.
        refused: what is not done then, for the message.

    Raises:
        ResourceShort: less is free than it takes.
    """
    needed, free = int(weights_bytes) + _MEMORY_BYTES, free_memory_bytes()
    if free < needed:
        remedy = f"{refused}; free some, or build on a larger machine"
        raise ResourceShort("memory", free, needed, remedy)


def require_disk(folder: Path, files_bytes: float, buckets: int, refused: str) -> None:
    """Refuse a build whose files do not fit.

    Args:
        folder: where they go.
        files_bytes: of those whose size goes with the weights.
        buckets: that kernels are made for.
        refused: what is not done then, for the message.

    Raises:
        ResourceShort: less is free than they take.
    """
    needed = int(files_bytes) + _FILES_BYTES + buckets * _PROFILE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        remedy = f"{refused}; free some, or copy the bundle to a larger disk"
        disk = f"disk of {folder.parent.parent}"
        raise ResourceShort(disk, free, needed, remedy)


def free_memory_bytes() -> int:
    """What a process may still take: of the machine, its container, and its own limit."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        pages = int(lines["MemAvailable"].split()[0]) * 1024
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        mapped = int(Path("/proc/self/statm").read_text().split()[0])
        pages = min(pages, most - mapped * os.sysconf("SC_PAGE_SIZE"))
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is None or used is None:
        return pages
    stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    return min(pages, limit - used + int(stat["inactive_file"]))  # a cache gives way


def _number(path: Path) -> int | None:
    """What a file of a container's limits says; None where there is no limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
