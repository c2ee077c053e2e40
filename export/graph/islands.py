"""Which islands of float32 a part has at all."""

from export.graph.parts import Part
from export.graph.precision import Islands


def present(part: Part, islands: Islands) -> tuple[str, ...]:
    """The patterns that match a module of a part which has weights of its own."""
    names = [
        name
        for name, module in part.module.named_modules()
        for tensors in (module.parameters(recurse=False), module.buffers(recurse=False))
        if any(tensor.is_floating_point() for tensor in tensors)
    ]
    return tuple(
        pattern
        for pattern, why in islands.why.items()
        if any(Islands({pattern: why}).covers(name) for name in names)
    )
