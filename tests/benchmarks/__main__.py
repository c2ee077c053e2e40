"""Benchmarks: `python -m tests.benchmarks [engine|network|cpu-engines|scale|gpu]`; tables and JSON.

Figures of one run are compared as ratios; a machine's absolute ones mean little elsewhere. Without
a name, engine and network run with what they take on a CPU by default (some minutes).
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
from pathlib import Path

import torch

from export.compilers.errors import CompilerRefused
from model.bundle import BundleRefused
from model.files import write_whole
from model.sampling.arguments import MAX_THREADS, ArgumentRefused, Parser, integer
from model.specs.training import Precision
from tests.benchmarks import cpu_engines, engine, network, scale
from tests.benchmarks.gpu import run as gpu

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
PROGRAM = "python -m tests.benchmarks"


def main() -> int:
    try:
        arguments = _parser().parse_args()
        _check(arguments)
        torch.set_num_threads(arguments.threads)
        for name in [arguments.name] if arguments.name else ["engine", "network"]:
            _run(name, arguments)
    except (
        ArgumentRefused,
        BundleRefused,
        CompilerRefused,
        cpu_engines.Unequal,
        network.Disagreement,
        scale.NotBuilt,
    ) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "name",
        nargs="?",
        choices=("engine", "network", "cpu-engines", "scale", "gpu"),
        help="engine: ticks and mixed loads of the service's engine; network: forward pass and "
        "training against the naive form of the same networks (default: these two); cpu-engines: "
        "PyTorch against ONNX Runtime; scale: XL/2R and XL/3R at full size into TensorRT-RTX "
        "plans; gpu: kernels, engines, images/s and parity on a CUDA machine, unattended, within "
        "ten minutes",
    )
    parser.add_argument(
        "--rounds",
        type=integer(1, 1000),
        default=5,
        metavar="N",
        help="repetitions; medians are reported (default: 5)",
    )
    parser.add_argument(
        "--threads",
        type=integer(1, MAX_THREADS),
        default=torch.get_num_threads(),
        metavar="N",
        help="CPU threads (default: all)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="of one benchmark, where its JSON goes (default: beside this program, by date)",
    )
    one = parser.add_argument_group("engine, cpu-engines")
    one.add_argument(
        "--bundle",
        type=Path,
        default=ROOT / "deploy" / "models" / "emoji-32",
        metavar="FOLDER",
        help="default: the shipped emoji-32",
    )
    alone = parser.add_argument_group("gpu")
    alone.add_argument(
        "--rehearse",
        action="store_true",
        help="run what a CPU can run, in small, and mark the JSON as a rehearsal",
    )
    _add_network(parser)
    return parser


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "--variants",
        nargs="+",
        choices=network.NETWORKS,
        default=network.NETWORKS,
        metavar="NAME",
        help=f"some of {', '.join(network.NETWORKS)} (default: all)",
    )
    group.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cpu: the variants with fewer blocks; cuda: all of them whole (default: cpu)",
    )
    group.add_argument(
        "--precision",
        nargs="+",
        type=Precision,
        choices=list(Precision),
        metavar="TYPE",
        help="fp32, bf16, fp16 (default: fp32, on cuda fp32 and bf16)",
    )
    group.add_argument(
        "--batch",
        type=integer(1, 4096),
        metavar="N",
        help="images at once (default: the recipe's 32 for emoji-32; 1, on cuda 16, for others)",
    )
    group.add_argument("--compile", action="store_true", help="compile our blocks (torch.compile)")


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be carried out before anything is measured."""
    if arguments.device == "cuda" and not torch.cuda.is_available():
        msg = "--device: got 'cuda'; allowed: 'cpu', as no CUDA device is found"
        raise ArgumentRefused(msg)
    if arguments.rehearse and arguments.name != "gpu":
        msg = "--rehearse: got it without 'gpu'; allowed: python -m tests.benchmarks gpu --rehearse"
        raise ArgumentRefused(msg)
    if arguments.name == "gpu" and not (arguments.rehearse or torch.cuda.is_available()):
        msg = "gpu: no CUDA device is found; allowed: on a CUDA machine, or with --rehearse"
        raise ArgumentRefused(msg)
    if arguments.out is None:
        return
    if arguments.name is None:
        msg = "--out: got a file for two benchmarks; allowed: with the name of one"
        raise ArgumentRefused(msg)
    if arguments.out.is_dir() or not arguments.out.parent.is_dir():
        msg = f"--out: got '{arguments.out}'; allowed: a file, in a folder that exists"
        raise ArgumentRefused(msg)


def _run(name: str, arguments: argparse.Namespace) -> None:
    """Run one benchmark and write its JSON."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    result: dict[str, object] = {
        "benchmark": name,
        "command": shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]]),
        "date": date,
        "machine": f"{platform.machine()}, {_processor()}, {arguments.threads} threads",
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    path = arguments.out or RESULTS / f"{name}{_place(name, arguments)}-{date}.json"
    match name:
        case "gpu":
            gpu.measure(path, result, rehearsal=arguments.rehearse)
            print(f"written to {path}")
            return
        case "engine":
            result |= {"bundle": arguments.bundle.name}
            result |= engine.measure(arguments.bundle, arguments.rounds)
        case "cpu-engines":
            result |= {"bundle": arguments.bundle.name}
            result |= cpu_engines.measure(arguments.bundle, arguments.rounds)
        case "scale":
            result |= scale.measure(scale.NETWORKS)
        case _:
            result |= network.measure(_plan(arguments))
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode())
    print(f"written to {path}")


def _place(name: str, arguments: argparse.Namespace) -> str:
    """What tells files of one benchmark apart."""
    if arguments.rehearse:
        return "-rehearsal"
    return "-cuda" if name == "network" and arguments.device == "cuda" else ""


def _plan(arguments: argparse.Namespace) -> network.Plan:
    usual = [Precision.FP32] if arguments.device == "cpu" else [Precision.FP32, Precision.BF16]
    return network.Plan(
        device=torch.device(arguments.device),
        networks=arguments.variants,
        precisions=arguments.precision or usual,
        batch=arguments.batch,
        rounds=arguments.rounds,
        compile=arguments.compile,
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
