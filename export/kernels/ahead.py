"""Kernels compiled ahead of time, without a GPU, to PTX and to machine code.

A `Form` is one kernel for one class of operands: types, which optional operands there are, class of
row length, and whether rows are multiples of 16 elements (wider loads). PTX of sm_80 is portable:
a driver compiles it for every later architecture. That of target 90 is for sm_90a and runs on no
other; so is that of 120. Files hold no path of the machine that compiled them.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from export.kernels.errors import TargetUnfit
from export.kernels.library import ASTSource, Kernel, compile_for, interpreted, triton_version
from export.kernels.norm_device import td_norm_long, td_norm_whole
from export.kernels.norm_gradients import (
    parameter_gradients,
    td_norm_backward_long,
    td_norm_backward_whole,
)
from export.kernels.tiles import CHANNELS, SAMPLES, tile_for
from export.kernels.update import BLOCK, tick_update
from model.layers.norm import LAYER_NORM_EPS, RMS_EPS
from model.specs.networks import Norm
from model.specs.process import Prediction

CAPABILITIES = (80, 90, 120)
PORTABLE = 80
ALIGNMENT = 16  # bytes of a pointer, elements of a row
WARP = 32  # threads

_TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
_EPS = {Norm.TD_LAYERNORM: LAYER_NORM_EPS, Norm.TD_RMSNORM: RMS_EPS}
_SIZES = {"rows_per_sample": "i32", "width": "i32"}
_WEIGHT = ("w_first", "w_second", "w_slope", "w_offset")
_BIAS = ("b_first", "b_second", "b_slope", "b_offset")


@dataclass(frozen=True, slots=True)
class Form:
    """One kernel for one class of operands.

    Attributes:
        name: of its files, without suffix.
        kernel: what is compiled.
        operands: Triton type of each argument that a launch passes, in order.
        constants: the other arguments; None for an operand that there is not.
        aligned: operands that are multiples of 16, beside all pointers.
        warps: of a program.
        fused_multiply_add: whether products and sums may be rounded together.
    """

    name: str
    kernel: Kernel
    operands: Mapping[str, str]
    constants: Mapping[str, float | None]
    aligned: tuple[str, ...] = ()
    warps: int = 4
    fused_multiply_add: bool = True


@dataclass(frozen=True, slots=True)
class Compiled:
    """A form for one architecture.

    Attributes:
        form: what was compiled.
        capability: compute capability times ten.
        entry: the name of the kernel in the code.
        ptx: text; takes `form.operands` in order, then two pointers, global and profile scratch,
            which these kernels do not use.
        cubin: machine code of the architecture, with the same entry and arguments.
        shared_bytes: dynamic shared memory of a launch.
    """

    form: Form
    capability: int
    entry: str
    ptx: str
    cubin: bytes
    shared_bytes: int

    @property
    def threads(self) -> int:
        """Threads of a launch's block, along x."""
        return WARP * self.form.warps

    @property
    def metadata(self) -> dict[str, object]:
        """All that a launch must know, as JSON has it."""
        return {
            "kernel": self.entry,
            "capability": self.capability,
            "target": directive(self.ptx, "target"),
            "ptx_version": directive(self.ptx, "version"),
            "operands": [{"name": n, "type": t} for n, t in self.form.operands.items()],
            "trailing_pointers": 2,
            "constants": dict(self.form.constants),
            "aligned": {"pointers": ALIGNMENT, "multiples": list(self.form.aligned)},
            "threads": self.threads,
            "shared_bytes": self.shared_bytes,
            "compiler": f"triton {triton_version()}",
            "ptx_sha256": hashlib.sha256(self.ptx.encode()).hexdigest(),
            "cubin_sha256": hashlib.sha256(self.cubin).hexdigest(),
        }


def forward_form(norm: Norm, dtype: torch.dtype, width: int, *, adds: bool = False) -> Form:
    """The forward pass of a norm over rows of a class.

    Args:
        norm: one of the two time-dependent ones.
        dtype: of the rows; parameters and tau are float32.
        width: channels of a row, any of its class.
        adds: whether a residual is added on the way and the sum stored.

    Raises:
        TargetUnfit: there is no kernel of this norm or type.
    """
    tile, rows = tile_for(width), _pointer(dtype)
    operands = {"x": rows, "tau": "*fp32", **_parameters(norm), **_SIZES, "y": rows}
    if adds:
        operands |= {"residual": rows, "total": rows}
    return _norm_form(
        td_norm_whole if tile.whole else td_norm_long,
        f"{norm}-{'add-' if adds else ''}forward-{_TYPES[dtype]}",
        operands,
        {"EPS": _EPS[norm], "ROWS": tile.rows, "BLOCK": tile.block},
        width,
    )


def backward_form(norm: Norm, dtype: torch.dtype, width: int, *, adds: bool = False) -> Form:
    """The backward pass, gradients of the parameters as partial sums; see `forward_form`."""
    tile, rows = tile_for(width), _pointer(dtype)
    operands = {"x": rows, "dy": rows, "tau": "*fp32", **dict.fromkeys(_WEIGHT, "*fp32")}
    operands |= {**_SIZES, "dx": rows, "dweight": "*fp32"}
    if "b_first" in _parameters(norm):
        operands |= {"b_first": "*fp32", "dbias": "*fp32"}
    if adds:
        operands["dtotal"] = rows
    return _norm_form(
        td_norm_backward_whole if tile.whole else td_norm_backward_long,
        f"{norm}-{'add-' if adds else ''}backward-{_TYPES[dtype]}",
        operands,
        {
            "EPS": _EPS[norm],
            "ROWS": tile.rows,
            "TILES": tile.tiles_a_program,
            "BLOCK": tile.block,
        },
        width,
    )


def parameters_form() -> Form:
    """Gradients of the four vectors of a parameter, float32, of any width."""
    inputs = ("dvalue", "tau", "first", "second", "slope", "offset")
    outputs = ("dfirst", "dsecond", "dslope", "doffset", "dtau")
    return Form(
        "parameter-gradients",
        parameter_gradients,
        {
            **dict.fromkeys(inputs, "*fp32"),
            "samples": "i32",
            "width": "i32",
            **dict.fromkeys(outputs, "*fp32"),
        },
        {"SAMPLES": SAMPLES, "BLOCK": CHANNELS},
    )


def update_form(kind: Prediction, dtype: torch.dtype) -> Form:
    """The update of a tick for a network that predicts `kind` in this type."""
    rows = _pointer(dtype)
    return Form(
        f"tick-update-{kind}-{_TYPES[dtype]}",
        tick_update,
        {
            "prediction": rows,
            "unconditional": "*i64",
            "slots": "*i64",
            "columns": "*fp32",
            "stride": "i32",
            "low": "fp32",
            "high": "fp32",
            "elements": "i32",
            "capacity": "i32",
            **dict.fromkeys(("x", "anchor", "history"), "*fp32"),
        },
        {"VELOCITY": kind is Prediction.VELOCITY, "BLOCK": BLOCK},
        aligned=("elements",),
        fused_multiply_add=False,
    )


def forms(widths: tuple[int, ...]) -> Iterator[Form]:
    """Every form that networks with norms of these widths need, each once."""
    seen = set()
    for width in widths:
        for norm in _EPS:
            for dtype in _TYPES:
                for adds in (False, True):
                    for form in (
                        forward_form(norm, dtype, width, adds=adds),
                        backward_form(norm, dtype, width, adds=adds),
                    ):
                        if form.name not in seen:
                            seen.add(form.name)
                            yield form
    yield parameters_form()
    for kind in Prediction:
        for dtype in _TYPES:
            yield update_form(kind, dtype)


def compile_ahead(form: Form, capability: int) -> Compiled:
    """Compile without a GPU; equal forms give equal bytes.

    Raises:
        TargetUnfit: `capability` is not among `CAPABILITIES`, or this process interprets kernels.
    """
    if capability not in CAPABILITIES:
        raise TargetUnfit("capability", capability, ", ".join(map(str, CAPABILITIES)))
    if interpreted(form.kernel):
        raise TargetUnfit("TRITON_INTERPRET", "1", "unset, as interpreted kernels are not compiled")
    names = form.kernel.arg_names
    source = ASTSource(
        fn=form.kernel,
        signature={name: form.operands.get(name, "constexpr") for name in names},
        constexprs={name: form.constants.get(name) for name in names if name not in form.operands},
        attrs={
            (names.index(name),): [["tt.divisibility", ALIGNMENT]]
            for name, kind in form.operands.items()
            if kind.startswith("*") or name in form.aligned
        },
    )
    options = {"num_warps": form.warps, "enable_fp_fusion": form.fused_multiply_add}
    out = compile_for(source, capability, options)
    return Compiled(
        form, capability, out.metadata.name, out.asm["ptx"], out.asm["cubin"], out.metadata.shared
    )


def write(compiled: Compiled, folder: Path) -> Path:
    """Write `<name>-sm<capability>.ptx`, `.cubin` and `.json`; returns the path of the last."""
    stem = folder / f"{compiled.form.name}-sm{compiled.capability}"
    stem.with_suffix(".ptx").write_text(compiled.ptx)
    stem.with_suffix(".cubin").write_bytes(compiled.cubin)
    described = stem.with_suffix(".json")
    described.write_text(json.dumps(compiled.metadata, indent=2) + "\n")
    return described


def _norm_form(
    kernel: Kernel,
    name: str,
    operands: Mapping[str, str],
    constants: dict[str, float | None],
    width: int,
) -> Form:
    tile = tile_for(width)
    even = width % ALIGNMENT == 0
    return Form(
        f"{name}-{tile.name}{f'-by{ALIGNMENT}' if even else ''}",
        kernel,
        {name: operands[name] for name in kernel.arg_names if name in operands},
        constants,
        aligned=("width",) if even else (),
        warps=tile.warps,
    )


def _pointer(dtype: torch.dtype) -> str:
    if dtype not in _TYPES:
        raise TargetUnfit("dtype", dtype, ", ".join(map(str, _TYPES)))
    return f"*{_TYPES[dtype]}"


def _parameters(norm: Norm) -> dict[str, str]:
    match norm:
        case Norm.TD_LAYERNORM:
            return dict.fromkeys((*_WEIGHT, *_BIAS), "*fp32")
        case Norm.TD_RMSNORM:
            return dict.fromkeys(_WEIGHT, "*fp32")
        case _:
            raise TargetUnfit("norm", norm, ", ".join(_EPS))


def directive(ptx: str, name: str) -> str:
    """The first value of a directive of PTX, such as its target."""
    found = re.search(rf"^\.{name} (\S+?),?$", ptx, re.MULTILINE)
    assert found is not None, f"no .{name} in this PTX"
    return found[1]
