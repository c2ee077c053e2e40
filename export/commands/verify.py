"""dimr-export verify: how close an engine comes to PyTorch in float32, and whether that will do."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from export.commands.reports import check_report, write_report
from export.compilers.build import BundleUnwritable
from export.compilers.display import BuildDisplay
from export.parity.candidates import GRAPH, NAMES
from export.parity.cases import TOGETHER
from export.parity.graphs import GraphsUnwritten
from export.parity.islands import IslandError
from export.parity.record import MeasuredLess, record
from export.parity.report import ParityReport
from export.parity.study import layers_and_islands
from export.parity.verification import verify
from export.runtime.plan import PlanFault
from export.runtime.refusal import EngineRefused
from model.bundle import BundleRefused
from model.diffusion.errors import ParameterRejected
from model.sampling.arguments import ArgumentRefused, integer
from model.sampling.samplers import SamplerUnknown
from model.sampling.tables import MAX_STEPS
from model.specs.manifest import MOST_PSNR_DB, EngineEntry

NAME, HELP = "verify", "an engine is compared with PyTorch in float32, and refused if it differs"
DESCRIPTION = """\
Compare an engine of a bundle with PyTorch in float32, on the same noise and the same classes or
prompts, and keep what is found with the engine in the bundle's manifest.

  images   peak signal-to-noise ratio (PSNR) of finished images, many seeds and classes or prompts
           at every size; the worst one is named. Below what the manifest asks for (parity:
           image_psnr_db, 40 dB unless it says why) the command fails: exit status 1.
  calls    relative error of single network calls, at the times and states of float32
           trajectories; above what the manifest allows (1e-3 in float32, 0.05 in float16 unless it
           says otherwise) the command fails too
  layers   relative error of every block of a graph that is traced as the engine's was, by ONNX
           Runtime on the CPU
  islands  the error of the graph with each island of float32 computed in float16 too, one by one:
           of the largest part of the denoiser, and of a text encoder that is a part
  decoder and text encoder, where the engine has its own: PSNR, and relative error of token states

Engines:
  graph         the FP16 graphs that plans are made of, by ONNX Runtime on the CPU; any machine. It
                shows what float16 costs, and stands for no plan: verify that where it will run.
  onnx          the bundle's float32 graphs for the CPU
  tensorrt, tensorrt-rtx, pytorch-cuda, pytorch-compile
                the engine itself, as a worker runs it; a machine with a CUDA device"""
EPILOG = """\
examples:
  dimr-export verify deploy/models/emoji-32
  dimr-export verify models/dimr-xl2r-256 --engine tensorrt --samples 64 --report parity.json
  dimr-export verify models/dimr-xl2r-256 --engine tensorrt --images-only
  dimr-export verify deploy/models/emoji-32 --engine onnx --samples 8 --steps 10

Exit status: 0 close enough, 1 not, 2 not verified. Needs: pip install 'dimr-serve[export]'; first
dimr-export build, but for graph, pytorch-cuda and
pytorch-compile."""

SAMPLES = 16
_MOST_SAMPLES = 100_000


class NotClose(SystemExit):
    """An engine differs too much from PyTorch: the process ends with status 1 and says why."""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments, and what runs with them."""
    parser.set_defaults(run=_verify)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument(
        "--engine",
        choices=NAMES,
        default=GRAPH,
        metavar="NAME",
        help=f"one of {', '.join(NAMES)} (default: {GRAPH})",
    )
    parser.add_argument(
        "--samples",
        type=integer(1, _MOST_SAMPLES),
        default=SAMPLES,
        metavar="N",
        help=f"images of each size, each of another seed (default: {SAMPLES})",
    )
    parser.add_argument(
        "--steps",
        type=integer(1, MAX_STEPS),
        metavar="N",
        help="network calls of an image (default: the bundle's)",
    )
    parser.add_argument(
        "--images-only",
        dest="study",
        action="store_const",
        const=None,
        default=layers_and_islands,
        help="leave out layers and islands: they trace the network again and again, which takes "
        "minutes of a large one",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write what was found as JSON, to this file"
    )


def _verify(arguments: argparse.Namespace) -> str:
    """Verify what is asked for; returns what to tell the user.

    Raises:
        NotClose: it differs too much.
    """
    check_report(arguments.report, arguments.bundle)
    folder: Path = arguments.bundle
    with BuildDisplay() as display:
        with faults_named(folder, arguments.engine):
            report, entries = verify(
                folder,
                arguments.engine,
                samples=arguments.samples,
                steps=arguments.steps,
                study=arguments.study,
                progress=display,
            )
        write_report(arguments.report, report.document())
        display.began(arguments.engine, "keeping the figures, once no build is at work")
        report = _kept(folder, entries, report)
    write_report(arguments.report, report.document())
    said = _said(folder, report)
    if report.failures:
        reasons = "".join(f"\ndimr-export: {reason}" for reason in report.failures)
        msg = f"{said}{reasons}"
        raise NotClose(msg)
    return said


@contextmanager
def faults_named(folder: Path, engine: str) -> Iterator[None]:
    """Say in one line what kept an engine from being verified.

    Raises:
        ArgumentRefused: something did.
    """
    try:
        yield
    except (EngineRefused, GraphsUnwritten, ParameterRejected, SamplerUnknown) as error:
        raise ArgumentRefused(str(error)) from error
    except PlanFault as error:
        msg = f"engine {engine!r}: {error}; build it again: "
        msg += f"dimr-export build {folder} --backend {engine} --overwrite"
        raise ArgumentRefused(msg) from error
    except torch.OutOfMemoryError as error:
        msg = f"engine {engine!r}: the device has too little memory for {TOGETHER} images beside "
        msg += f"PyTorch in float32 ({str(error).splitlines()[0]}); end what else runs on it, or "
        msg += f"verify the graph on the CPU: dimr-export verify {folder} --engine {GRAPH}"
        raise ArgumentRefused(msg) from error
    except OSError as error:
        msg = f"argument BUNDLE: got {folder}, of which something cannot be read: {error}; "
        msg += "allowed: a bundle whose files can be read"
        raise ArgumentRefused(msg) from error


def _kept(folder: Path, entries: Sequence[EngineEntry], report: ParityReport) -> ParityReport:
    """Put the figures into the manifest; the report then says where they are, or why nowhere."""
    try:
        return report.recorded_in(record(folder, entries, report))
    except (BundleRefused, BundleUnwritable, MeasuredLess) as error:
        return report.not_kept(str(error))


def _said(folder: Path, report: ParityReport) -> str:
    worst = report.worst
    same = " (all the same)" if worst.psnr_db == MOST_PSNR_DB else ""
    least = report.threshold.image_psnr_db
    lines = [
        f"bundle {report.bundle_id} in {folder}, engine {report.engine}: {report.did}",
        f"images: {worst.psnr_db:.1f} dB{same} at the worst of {len(report.images)}, "
        f"{worst.case.named}; {least:g} dB asked for"
        + (f" ({report.threshold.why})" if report.threshold.why else ""),
    ]
    call = max(report.calls, key=lambda call: call.error)
    lines.append(
        f"calls: relative error {call.error:.2e} at the worst of {len(report.calls)}, "
        f"t = {call.t:.3f}, {call.worst.named}"
    )
    for part, layers in report.layers.items():
        layer = max(layers, key=lambda layer: layer.error)
        lines.append(
            f"layers of {part}: relative error {layer.error:.2e} at the worst of {len(layers)}, "
            f"{layer.name}"
        )
    for part, islands in report.islands.items():
        lines += [_island(part, island) for island in islands] or [
            f"islands of {part}: none; nothing but norms stays float32"
        ]
    if report.decoder:
        lines.append(f"decoder: {min(report.decoder):.1f} dB at the worst")
    if report.text is not None:
        lines.append(f"text encoder: relative error {report.text:.2e} at the worst")
    lines.append(_whereabouts(report))
    return "\n".join(lines)


def _island(part: str, island: IslandError) -> str:
    which = "with all of them" if island.without is None else f"without {island.without!r}"
    return f"islands of {part}: relative error {island.error:.2e} {which}"


def _whereabouts(report: ParityReport) -> str:
    if report.recorded:
        return f"kept with {', '.join(report.recorded)}"
    if report.unkept is not None:
        return f"not kept: {report.unkept}"
    return "the bundle has no engine that this holds for: no figures are kept in its manifest"
