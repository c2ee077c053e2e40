"""Torch-TensorRT: a second way from a part to a TensorRT plan, on hosts that have it.

It needs full TensorRT and a CUDA device even to be imported, so it builds for the GPU that is
present. What comes out is a plan of TensorRT like any other: the same files in the bundle, run by
the same code. It prints no layers, so its engines have no fusion report; and they have one profile
from one row to the most, for which TensorRT may split norms that it fuses for a narrower one.
"""

import copy
import importlib
import inspect
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from export.compilers.errors import MIB, CompilerAbsent, EngineUnbuilt
from export.compilers.library import open_library
from export.compilers.listening import SAID
from export.compilers.options import Options, Progress
from export.graph.nodes import norms_as_nodes, td_layer_norm, td_rms_norm
from export.graph.parts import ROWS, Part
from export.graph.precision import Islands, Precision, narrow

if TYPE_CHECKING:
    from torch.export import ExportedProgram

BACKEND = "torch-tensorrt"
_REMEDY = (
    "it needs a CUDA device, TensorRT and a build of PyTorch with CUDA: run: "
    "pip install torch-tensorrt in an environment of its own, as it brings the tensorrt that it "
    "was made for (2.13: 11.0, where 'dimr-serve[trt]' has 11.4), with which its plans have to be "
    "run; or use --backend tensorrt, or tensorrt-rtx, which needs no GPU"
)


class Named(nn.Module):
    """A network whose inputs have names in its signature, from which a plan's have theirs."""

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.network = network
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])

        def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
            outputs: tuple[Tensor, ...] = network(*inputs)
            return outputs

        forward.__signature__ = signature  # type: ignore[attr-defined]  # what `inspect` reads
        self.forward = forward


class TorchTensorRT:
    """The compiler, imported."""

    def __init__(self, compiler: Any, tensorrt: str) -> None:  # noqa: ANN401 - a module
        self._compiler = compiler
        self._tensorrt = tensorrt

    @property
    def name(self) -> str:
        """Its version and that of the library whose plans it makes, which runs them."""
        return f"{self._tensorrt} (torch_tensorrt {self._compiler.__version__})"

    def build(self, part: Part, options: Options, progress: Progress, islands: Islands) -> bytes:
        """Build a plan of a part.

        Raises:
            EngineUnbuilt: the compiler fails; says what it said.
        """
        progress.began(part.name, "building")
        network = norms_as_nodes(part.module)
        match options.precision:
            case Precision.FP32:
                pass
            case Precision.FP16:
                narrow(network, islands)
        try:
            return self._converted(part, copy.deepcopy(network).cuda(), options)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            said = f"{' '.join(str(error).split()):.{SAID}}"
            raise EngineUnbuilt(part.name, self.name, (), [said]) from error

    def _converted(self, part: Part, network: nn.Module, options: Options) -> bytes:
        examples = {name: value.cuda() for name, value in part.inputs.items()}
        program = program_of(network, examples, options.largest)
        inputs = [
            self._compiler.Input(
                min_shape=(1, *value.shape[1:]),
                opt_shape=(options.largest, *value.shape[1:]),
                max_shape=(options.largest, *value.shape[1:]),
                dtype=value.dtype,
                name=name,
            )
            for name, value in part.inputs.items()
        ]
        plan: bytes = self._compiler.dynamo.convert_exported_program_to_serialized_trt_engine(
            program,
            arg_inputs=inputs,
            use_explicit_typing=True,
            disable_tf32=True,
            require_full_compilation=True,
            workspace_size=(options.workspace_mib or 0) * MIB,
        )
        return plan


def open_torch_tensorrt() -> TorchTensorRT:
    """Import it.

    Raises:
        CompilerAbsent: it is not installed, or there is no GPU; says what to install.
    """
    try:
        compiler = importlib.import_module("torch_tensorrt")
    except (ImportError, OSError, RuntimeError, AssertionError) as error:
        said = f"{' '.join(str(error).split()):.{SAID}}"
        raise CompilerAbsent(BACKEND, said, _REMEDY) from error
    if not torch.cuda.is_available():
        raise CompilerAbsent(BACKEND, "PyTorch finds no CUDA device", _REMEDY)
    return TorchTensorRT(compiler, open_library("tensorrt").name)


def program_of(
    network: nn.Module, examples: Mapping[str, Tensor], largest: int
) -> "ExportedProgram":
    """A network of norms as nodes as the program that is converted; its inputs have their names.

    Args:
        network: called with the examples in order.
        examples: inputs by name, `ROWS` rows of each.
        largest: the most rows of a call.
    """
    batch = torch.export.Dim("batch", min=1, max=max(largest, ROWS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch about itself
        program = torch.export.export(
            Named(network, examples),
            tuple(examples.values()),
            dynamic_shapes={name: {0: batch} for name in examples},
            strict=False,
        )
        whole: ExportedProgram = program.run_decompositions(_decompositions())
    return whole


def _decompositions() -> dict[Any, Any]:
    """The standard ones, and of our own ops what they are made of."""
    table = dict(torch.export.default_decompositions())
    for op, defined in (
        (torch.ops.dimr.td_rms_norm.default, td_rms_norm),
        (torch.ops.dimr.td_layer_norm.default, td_layer_norm),
    ):
        table[op] = defined._init_fn
    return table
