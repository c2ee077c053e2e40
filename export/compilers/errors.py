"""What goes wrong in building engines.

CompilerRefused            nothing was built, and the bundle is as it was
|-- CompilerAbsent         the library is not installed, or cannot run here
|-- TargetRefused          it builds nothing for that GPU architecture
|-- NormsRefused           it has no plugins
|-- GraphUnparsed          its parser refuses a node
|-- EngineUnbuilt          its builder fails
|-- ResourceShort          too little memory or disk
|-- PartUnknown            the bundle has no such part
|-- EngineInTheWay         there is an engine of that name, made otherwise
`-- BundleBusy             another build is at work in the bundle
"""

from collections.abc import Sequence
from pathlib import Path

GIB, MIB = 1 << 30, 1 << 20


class CompilerRefused(Exception):
    """Nothing was built; the message says why and what to do."""


class CompilerAbsent(CompilerRefused):
    """A compiler cannot be imported."""

    def __init__(self, backend: str, reason: str, remedy: str) -> None:
        super().__init__(f"backend {backend!r} cannot be used here: {reason}; {remedy}")


class TargetRefused(CompilerRefused):
    """A compiler builds nothing for an architecture."""

    def __init__(self, arch: str | None, allowed: str) -> None:
        super().__init__(f"arch: got {arch!r}; allowed: {allowed}")


class NormsRefused(CompilerRefused):
    """A compiler cannot make norms in the way that is asked for."""

    def __init__(self, norms: str, backend: str) -> None:
        super().__init__(
            f"norms: got {str(norms)!r} with the backend {backend!r}, which has no plugins; "
            "allowed: compiler, or the backend tensorrt"
        )


class GraphUnparsed(CompilerRefused):
    """A parser refuses nodes of a graph."""

    def __init__(self, part: str, library: str, faults: Sequence[str]) -> None:
        super().__init__(f"part {part!r}: the parser of {library} refuses {'; '.join(faults)}")


class EngineUnbuilt(CompilerRefused):
    """A builder gave no engine."""

    def __init__(self, part: str, library: str, nodes: Sequence[str], said: Sequence[str]) -> None:
        at = f" at {', '.join(nodes)}" if nodes else ""
        why = "; ".join(said) or "it does not say why"
        super().__init__(f"part {part!r}: {library} builds no engine{at}: {why}")


class ResourceShort(CompilerRefused):
    """Too little of something is free."""

    def __init__(self, resource: str, free_bytes: int, needed_bytes: int, remedy: str) -> None:
        super().__init__(
            f"{resource}: {free_bytes / GIB:.2f} GiB free, about {needed_bytes / GIB:.2f} GiB "
            f"needed; {remedy}"
        )


class PartUnknown(CompilerRefused):
    """A bundle has no part of a name."""

    def __init__(self, names: Sequence[str], allowed: Sequence[str]) -> None:
        super().__init__(f"parts: got {', '.join(names)}; allowed: {', '.join(allowed)}")


class EngineInTheWay(CompilerRefused):
    """An engine for the same backend, architecture and precision is there."""

    def __init__(self, path: Path, difference: str) -> None:
        super().__init__(f"{path} is there already and {difference}; replace it with --overwrite")


class BundleBusy(CompilerRefused):
    """Another build writes to a bundle."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder}: another dimr-export build is at work in it; wait for its end")
