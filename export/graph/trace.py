"""Parts to ONNX: one batch axis that is free, every norm and attention a node of its own.

The same part gives the same bytes: what varies between machines and runs (paths, stack traces) is
not written. Nodes are named MODULE/OP, where MODULE is the module's name within the network.
"""

import ast
import inspect
import linecache
import logging
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from export.graph.nodes import DOMAIN, NODE_TYPES, OPSET, functions, norms_as_nodes, translations
from export.graph.parts import ROWS, Part
from export.graph.precision import WRAPPED, Islands, Precision, narrow

if TYPE_CHECKING:
    import onnx
    import onnx_ir
    from torch.export import ExportedProgram

PRODUCER = "dimr-serve"
LARGEST_BYTES = 2**31 - 2**26  # of one file: protobuf ends at 2 GiB; the graph itself needs some
_GIB = 2**30
EXTERNAL_FROM_BYTES = 1024  # smaller tensors stay in the graph

_SCOPES = "pkg.torch.onnx.name_scopes"


class GraphRefused(ValueError):
    """A part cannot be written as a graph; the message names the module and the op."""

    def __init__(self, part: str, module: str, reason: str) -> None:
        where = f"module {module!r}" if module else "the network"
        super().__init__(f"part {part!r}: {where}: {reason}")


class OnnxAbsent(RuntimeError):
    """The packages that write ONNX are not installed."""

    def __init__(self, error: ImportError) -> None:
        super().__init__(f"ONNX cannot be written: {error}; run: pip install 'dimr-serve[export]'")


def to_onnx(
    part: Part, *, precision: Precision, max_batch: int, islands: Islands | None = None
) -> "onnx.ModelProto":
    """Write a part as ONNX and check it.

    Args:
        part: its module and tensors stay as they are.
        precision: inside; what comes in and goes out is float32.
        max_batch: the most rows that a call must be able to have.
        islands: what stays float32 under FP16; None are those of `Islands()`.

    Returns:
        A model with all its weights, which may be more than one file can hold; see `write_onnx`.

    Raises:
        GraphRefused: it cannot be traced, or an op has no translation.
        OnnxAbsent: onnx or onnxscript is not installed.
        ValueError: `max_batch` is below 1.
    """
    if max_batch < 1:
        msg = f"max_batch: got {max_batch}; allowed: 1 or more"
        raise ValueError(msg)
    try:
        import onnx_ir
        from onnxscript import optimizer
    except ImportError as error:
        raise OnnxAbsent(error) from error
    network = norms_as_nodes(part.module)
    match precision:
        case Precision.FP32:
            pass
        case Precision.FP16:
            narrow(network, islands or Islands())
    with _quiet():
        model = _translated(part, _traced(part, network, max_batch))
        optimizer.optimize(model, inline=False)
    _tidy(model, part.name)
    proto = onnx_ir.to_proto(model)
    proto.functions.extend(functions())
    _check(proto, part.name)
    return proto


def count_td_norms(model: "onnx.ModelProto") -> int:
    """Nodes that are a time-dependent norm."""
    return sum(node.domain == DOMAIN and node.op_type in NODE_TYPES for node in model.graph.node)


def count_attentions(model: "onnx.ModelProto") -> int:
    """Nodes that are an attention."""
    return sum(node.domain == "" and node.op_type == "Attention" for node in model.graph.node)


def weights_bytes(model: "onnx.ModelProto") -> int:
    """Bytes of all weights of a model."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def write_onnx(model: "onnx.ModelProto", path: Path) -> list[Path]:
    """Write a model to a file, and its weights to another one beside it where one is too small.

    Args:
        model: stays as it is.
        path: the file; the other one is called like it, with .data behind.

    Returns:
        What was written, the graph first; the same model gives the same bytes.
    """
    import onnx_ir

    if weights_bytes(model) <= LARGEST_BYTES:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return [path]
    data = path.with_name(f"{path.name}.data")
    onnx_ir.save(
        onnx_ir.from_proto(model),
        path,
        external_data=data.name,
        size_threshold_bytes=EXTERNAL_FROM_BYTES,
    )
    return [path, data]


def _traced(part: Part, network: nn.Module, max_batch: int) -> "ExportedProgram":
    batch = torch.export.Dim("batch", min=1, max=max(max_batch, ROWS))
    axes = tuple({0: batch} for _ in part.inputs)
    (*_, last) = inspect.signature(network.forward).parameters.values()
    shapes = (axes,) if last.kind is inspect.Parameter.VAR_POSITIONAL else axes
    try:
        with redirect_stderr(StringIO()):  # where it prints the whole graph if it fails
            return torch.export.export(
                network, tuple(part.inputs.values()), dynamic_shapes=shapes, strict=False
            )
    except (RuntimeError, TypeError, ValueError) as error:
        module, line = _innermost(network, error)
        reason = f"cannot be traced at {line!r}: {_first_line(error)}"
        raise GraphRefused(part.name, module, reason) from error


def _translated(part: Part, program: "ExportedProgram") -> "onnx_ir.Model":
    try:
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            optimize=False,
            verbose=False,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            custom_translation_table=translations(),
        )
    except torch.onnx.OnnxExporterError as error:
        module, op = _untranslated(program, error)
        reason = f"the op {op} has no translation to ONNX at opset {OPSET}"
        raise GraphRefused(part.name, module, reason) from error
    assert written is not None
    model: onnx_ir.Model = written.model
    return model


def _within(name: str) -> str:
    """A module's name within the network that a part wraps, "" of the network itself."""
    return f"{name}.".removeprefix(WRAPPED).removesuffix(".")


def _innermost(network: nn.Module, error: BaseException) -> tuple[str, str]:
    """Name of the module whose forward was running when an error was raised, and its line."""
    names = {id(module): name for name, module in network.named_modules()}
    found, line, trace = "", "", error.__traceback__
    while trace is not None:
        code, known = trace.tb_frame.f_code, trace.tb_frame.f_locals
        name = names.get(id(known.get(code.co_varnames[0]))) if code.co_varnames else None
        if name is not None and code.co_name == "forward":
            found, line = name, linecache.getline(code.co_filename, trace.tb_lineno).strip()
        trace = trace.tb_next
    return _within(found), line


def _untranslated(program: "ExportedProgram", error: BaseException) -> tuple[str, str]:
    """Names of the module and the op that the exporter stopped at."""
    said = ""
    cause: BaseException | None = error
    while cause is not None:
        said += f"{cause}\n"
        cause = cause.__cause__
    match = re.search(r"Error when translating node %(\w+).*?target=torch\.ops\.([\w.]+)\]", said)
    if match is None:
        return "", f"(the exporter said: {_first_line(error)})"
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target) == match[2]:
            stack = node.meta.get("nn_module_stack") or {"": ("", None)}
            name = list(stack.values())[-1][0]
            return _within(str(name)), match[2]
    return "", match[2]


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _tidy(model: "onnx_ir.Model", name: str) -> None:
    """Name what has a module, and forget what differs between machines."""
    used: Counter[str] = Counter()
    model.graph.name, model.graph.doc_string = name, None
    model.producer_name, model.producer_version = PRODUCER, None
    model.domain, model.doc_string = None, None
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.opset_imports[DOMAIN] = 1
    for value in list(model.graph.initializers.values()):
        assert value.name is not None
        value.name = value.name.removeprefix(WRAPPED)
    for node in model.graph.all_nodes():
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        module = _within(scopes[-2]) if len(scopes) > 1 else ""
        title = f"{module}/{node.op_type}" if module else node.op_type
        node.name = f"{title}_{used[title]}" if used[title] else title
        used[title] += 1
        node.doc_string = None
        node.metadata_props.clear()
        for output in node.outputs:
            output.metadata_props.clear()
            output.doc_string = None
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None


def _check(model: "onnx.ModelProto", part: str) -> None:
    from onnx import checker

    if weights_bytes(model) <= LARGEST_BYTES:
        checker.check_model(model, full_check=True)
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            graph, _ = write_onnx(model, Path(folder) / "model.onnx")
            checker.check_model(str(graph), full_check=True)
    except OSError as error:
        reason = f"cannot be written for its check: {error.strerror or error}; "
        reason += f"set TMPDIR to a folder with {weights_bytes(model) / _GIB:.1f} GiB free"
        raise GraphRefused(part, "", reason) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
