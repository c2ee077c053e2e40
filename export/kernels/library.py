"""Triton as the kernels see it: the one import, and what a kernel is to a type checker.

With TRITON_INTERPRET=1 in the environment before the first import of Triton, kernels run on a CPU
in its interpreter; without, they are compiled. One process can do one of the two.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import torch
from torch import Tensor

from export.kernels.errors import TritonAbsent

try:
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
except ImportError as absent:
    raise TritonAbsent from absent

__all__ = ["ASTSource", "Kernel", "Number", "Pointer", "interpreted", "jit", "tl"]

if TYPE_CHECKING:
    Pointer: TypeAlias = Any  # to the first element of a tensor, or None where there is none
    Number: TypeAlias = Any  # one of the device, or a block of them
else:
    Pointer = Number = tl.tensor  # Triton looks annotations up, and allows its own types alone


class Kernel(Protocol):
    """A function on the device: launched as kernel[grid](...), called by other kernels."""

    __name__: str
    arg_names: list[str]

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., object]:
        """Bind the number of programs to launch."""

    def __call__(self, *operands: object) -> Any:  # noqa: ANN401 - whatever the device returns
        """Inline into another kernel."""


def jit(function: Callable[..., object]) -> Kernel:
    """Make a kernel of a function that Triton can compile."""
    return cast("Kernel", triton.jit(function))


def interpreted(kernel: Kernel) -> bool:
    """Whether a kernel runs in the interpreter, on any device, rather than compiled, on a GPU."""
    return not isinstance(kernel, triton.runtime.JITFunction)


def triton_version() -> str:
    """The version that compiles."""
    return str(triton.__version__)


def compile_for(source: object, capability: int, options: Mapping[str, object]) -> Any:  # noqa: ANN401 - Triton's compiled kernel
    """Compile without a GPU, with no path of this machine in the code."""
    with triton.knobs.compilation.scope():
        triton.knobs.compilation.disable_line_info = True
        return triton.compile(
            source, target=GPUTarget("cuda", capability, 32), options=dict(options)
        )


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Make the device of a tensor the current one, to which Triton launches."""
    return cast("AbstractContextManager[object]", torch.cuda.device_of(tensor))  # type: ignore[no-untyped-call]
