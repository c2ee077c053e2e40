"""dimr-export build: compile a bundle into engines, and say what became of its norms."""

import argparse
from pathlib import Path
from typing import get_args

from export.commands.reports import check_report, write_report
from export.compilers.build import build
from export.compilers.compiler import open_compiler, settled
from export.compilers.display import BuildDisplay
from export.compilers.options import Norms, Options, rising
from export.compilers.report import BuildReport, PartReport
from export.graph.precision import Precision
from model.sampling.arguments import integer, member
from model.specs.manifest import Backend

NAME, HELP = "build", "a bundle gets an engine: TensorRT, TensorRT-RTX or ONNX"
DESCRIPTION = """\
Compile the networks of a bundle, and put the engines into it. A worker picks the best engine that
it can run, or the one it is told to.

  onnx            graphs for ONNX Runtime on a CPU; any machine
  tensorrt-rtx    plans for the architecture that --arch names; built on any machine, without a GPU
  tensorrt        plans for the GPU of the machine that builds
  torch-tensorrt  the same by way of PyTorch, on machines that have it

In FP16, norms and what the parity study found to need it stay in float32; see dimr-export verify.
What is built is keyed by weights, graph, options, library and architecture: an engine of the same
key that is in the bundle already is kept (a cache hit). The engines are put in place at the end, at
once, so a build that fails or is interrupted leaves the bundle as it was.

The report says how many time-dependent norms are one kernel of the engine (the rest are split,
which costs time on every one), and how many attentions are one fused kernel."""
EPILOG = """\
examples:
  dimr-export build deploy/models/emoji-32 --backend tensorrt-rtx --arch sm80 --report report.json
  dimr-export build models/dimr-xl2r-256 --backend tensorrt --buckets 1,2,4,8,16,32
  dimr-export build models/dimr-xl2r-256 --backend tensorrt-rtx --parts decoder --overwrite
  dimr-export build deploy/models/emoji-32 --backend onnx --precision fp32

A call with fewer rows than a bucket is padded up to it; the largest is at most the worker's slots,
or twice as many with guidance. Decoders and text encoders take one row a call, whatever the
buckets, and are built for that. Needs: pip install 'dimr-serve[export]', and for its backend
'dimr-serve[trt-rtx]' or 'dimr-serve[trt]'."""

BUCKETS = (1, 2, 4, 8, 16)
_MOST_ROWS, _MOST_MIB = 4096, 1 << 20
_MB = 1e6


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments, and what runs with them."""
    parser.set_defaults(run=_build)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument(
        "--backend",
        choices=get_args(Backend),
        required=True,
        metavar="NAME",
        help=f"one of {', '.join(get_args(Backend))}",
    )
    parser.add_argument(
        "--arch",
        metavar="SM",
        help="GPU architecture, such as sm80 (default: the oldest that tensorrt-rtx takes, which "
        "later GPUs may run too; the GPU that is present with the others)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write what was built as JSON, to this file"
    )
    parser.add_argument(
        "--precision",
        type=member(Precision),
        metavar="P",
        help="fp16 or fp32 (default: fp16, with onnx fp32)",
    )
    parser.add_argument(
        "--buckets",
        type=_buckets,
        default=BUCKETS,
        metavar="N,...",
        help="rows of a call that the engine is tuned to (default: 1,2,4,8,16)",
    )
    parser.add_argument(
        "--parts",
        type=_parts,
        metavar="NAME,...",
        help="only these of denoiser, decoder and text_encoder (default: all that the bundle has)",
    )
    parser.add_argument(
        "--workspace-mib",
        type=integer(1, _MOST_MIB),
        metavar="N",
        help="most GPU memory that one layer may use beside its tensors (default: the library's)",
    )
    parser.add_argument(
        "--norms",
        type=member(Norms),
        default=Norms.COMPILER,
        metavar="HOW",
        help="compiler: it fuses time-dependent norms by itself; plugin: our Triton kernel takes "
        "their place, with tensorrt alone, needs 'dimr-serve[triton]' (default: compiler)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an engine of the same backend, architecture and precision",
    )


def _buckets(text: str) -> tuple[int, ...]:
    row = integer(1, _MOST_ROWS)
    return rising([row(part) for part in text.split(",")])


def _parts(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split(",")))


def _build(arguments: argparse.Namespace) -> str:
    """Build what is asked for; returns what to tell the user."""
    backend: Backend = arguments.backend
    usual = Precision.FP32 if backend == "onnx" else Precision.FP16
    check_report(arguments.report, arguments.bundle)
    compiler = open_compiler(backend)
    options = settled(
        compiler,
        Options(
            arch=arguments.arch,
            precision=arguments.precision or usual,
            buckets=arguments.buckets,
            workspace_mib=arguments.workspace_mib,
            norms=arguments.norms,
        ),
    )
    with BuildDisplay() as display:
        report = build(
            arguments.bundle,
            compiler,
            options,
            display,
            names=arguments.parts,
            overwrite=arguments.overwrite,
        )
    write_report(arguments.report, report.document())
    return _said(arguments.bundle, report)


def _said(folder: Path, report: BuildReport) -> str:
    lines = [_line(part) for part in report.parts]
    first = report.parts[0].entry
    lines.append(
        f"bundle {report.bundle_id} in {folder} has its {first.backend} engine"
        f"{'' if first.arch is None else f' for {first.arch}'} ({first.library})"
    )
    return "\n".join(lines)


def _line(part: PartReport) -> str:
    entry = part.entry
    size = f"{entry.report['plan_bytes'] / _MB:.1f} MB"
    if part.hit:
        return f"{entry.part}: cache hit, {entry.file} is there already ({size})"
    facts = [size, f"{part.seconds:.1f} s"]
    if "layers_unknown" in entry.report:
        facts.append(entry.report["layers_unknown"])
    if entry.report["td_norms_single_kernel"] is not None:
        for many, fused, what in (
            ("td_norms", "td_norms_single_kernel", "TD norms in one kernel"),
            ("attentions", "attentions_fused", "attentions fused"),
        ):
            if entry.report[many]:
                facts.append(f"{entry.report[fused]} of {entry.report[many]} {what}")
    return f"{entry.part}: {entry.file}, {', '.join(facts)}"
