"""The command line of dimr-train, and recipes by name."""

import argparse
from pathlib import Path

from model.sampling.arguments import MAX_GUIDANCE, MAX_THREADS, Parser, integer, member, number
from model.sampling.tables import MAX_STEPS as MAX_SAMPLING_STEPS
from model.specs.files import recipe_names
from model.specs.training import ExecutionSpec, NormKernels, Parallelism, Precision

PROGRAM = "dimr-train"
MAX_STEPS = 10**9
DAY_S = 86_400.0

_EPILOG = """\
examples:
  dimr-train emoji-32 --data deploy/data/emoji --out runs/emoji-32
  dimr-train dimr-m3r-64 --data imagenet/train --out runs/m3r --precision bf16 --workers 8
  torchrun --nproc-per-node 8 -m model.training dimr-xl2r-256 --data latents --out runs/xl2r \\
      --precision bf16 --compile --autoencoder sd-vae-ft-ema
  python -m export.kernels.training dimr-m3r-64 --data imagenet/train --out runs/m3r \\
      --precision bf16

The last one is this program with Triton's kernels for time-dependent norms, on CUDA devices. A run
may be continued with them or without.

--data is the folder of the emoji set, a folder of latents (python -m model.latents), or images:
a folder with one folder a class, WebDataset shards (shards/{00000..00127}.tar), or a Hugging Face
data set (hf:owner/name, hf:/folder, hf-stream:owner/name). Images with captions lie in a folder
with a .txt beside each or a metadata.jsonl, in shards with .txt or .json, or in a data set with a
column of texts.

Ctrl-C or SIGTERM saves a checkpoint and stops; the same command with --resume continues bit for
bit, and with other options or another number of processes to rounding. torchrun ends its processes
30 s after it was told to stop: where saving takes longer, give it --shutdown-timeout SECONDS.

RUN holds recipe.json, log.jsonl, tensorboard/, samples/, checkpoints/, at the end bundle/."""


def build_parser() -> Parser:
    """The arguments of dimr-train."""
    parser = Parser(
        prog=PROGRAM,
        description="Train the denoiser of a recipe and write RUN/bundle, ready to be served.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    names = ", ".join(recipe_names())
    parser.add_argument("recipe", help=f"a named recipe ({names}) or a JSON file")
    parser.add_argument("--data", required=True, metavar="WHERE", help="the training data, below")
    parser.add_argument(
        "--class-index",
        type=Path,
        metavar="FILE",
        help="names of the classes in index order, where images do not tell them",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")
    parser.add_argument(
        "--stack-on",
        type=Path,
        metavar="BUNDLE",
        help="start from a trained bundle of the recipe's lower scales (layered networks)",
    )
    parser.add_argument(
        "--steps", type=integer(1, MAX_STEPS), metavar="N", help="steps in place of the recipe's"
    )
    _add_execution(parser)
    _add_checkpoints(parser)
    _add_reports(parser)
    return parser


def _add_execution(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is carried out")
    group.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cuda where there is one, else cpu"
    )
    group.add_argument(
        "--threads", type=integer(1, MAX_THREADS), metavar="N", help="CPU threads (default: all)"
    )
    group.add_argument(
        "--workers",
        type=integer(0, MAX_THREADS),
        default=0,
        metavar="N",
        help="processes that read data ahead, for each training process (default: 0)",
    )
    group.add_argument(
        "--precision",
        type=member(Precision),
        metavar="KIND",
        default=Precision.FP32,
        help="fp32, bf16 or fp16, of the network's arithmetic; weights stay fp32 (default: fp32)",
    )
    group.add_argument(
        "--accumulate",
        type=integer(1, MAX_STEPS),
        default=1,
        metavar="N",
        help="parts a process cuts its batch into, to need less memory (default: 1)",
    )
    group.add_argument(
        "--checkpoint-activations",
        action="store_true",
        help="recompute blocks in the backward pass: less memory, a third more work",
    )
    group.add_argument("--compile", action="store_true", help="compile every block (torch.compile)")
    group.add_argument(
        "--parallelism",
        type=member(Parallelism),
        metavar="KIND",
        default=Parallelism.DDP,
        help="under torchrun: whole networks (ddp) or shares of one (fsdp) (default: ddp)",
    )


def _add_checkpoints(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("checkpoints")
    group.add_argument(
        "--checkpoint-every",
        type=number(0.01, DAY_S),
        default=300.0,
        metavar="S",
        help="seconds between checkpoints (default: 300)",
    )
    group.add_argument(
        "--keep",
        type=integer(1, 1000),
        default=2,
        metavar="N",
        help="newest checkpoints that stay (default: 2)",
    )
    group.add_argument(
        "--keep-every",
        type=integer(1, MAX_STEPS),
        metavar="N",
        help="keep for good those whose step N divides, and save one at each of these steps",
    )


def _add_reports(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reports")
    group.add_argument(
        "--samples-every",
        type=integer(1, MAX_STEPS),
        metavar="N",
        help="steps between grids of samples in RUN/samples",
    )
    group.add_argument(
        "--sample-classes",
        type=integer(1, 1000),
        default=16,
        metavar="N",
        help="classes on such a grid, evenly chosen (default: 16)",
    )
    group.add_argument(
        "--sample-prompts",
        metavar="FILE",
        help="what samples show where the data are images with captions: a prompt a line",
    )
    group.add_argument(
        "--measure-every",
        type=integer(1, MAX_STEPS),
        metavar="N",
        help="steps between measurements of a Fréchet distance of samples",
    )
    group.add_argument(
        "--measure-samples",
        type=integer(2, 1_000_000),
        default=10_000,
        metavar="N",
        help="samples of a measurement (default: 10000)",
    )
    group.add_argument(
        "--measure-steps",
        type=integer(1, MAX_SAMPLING_STEPS),
        default=50,
        metavar="N",
        help="network calls a measured sample (default: 50)",
    )
    group.add_argument(
        "--measure-guidance",
        type=number(0, MAX_GUIDANCE),
        default=1.0,
        metavar="S",
        help="guidance of measured samples; 1 is none (default: 1, as the DiMR authors do)",
    )
    group.add_argument(
        "--inception", metavar="FILE", help="Inception weights, which make the measurement FID"
    )
    group.add_argument(
        "--reference", metavar="FILE", help="statistics or images (.npz) that FID compares with"
    )
    group.add_argument(
        "--autoencoder",
        metavar="SOURCE",
        help="of a latent model, to see samples and for the bundle: a folder or hub id",
    )
    group.add_argument("--no-tensorboard", action="store_true", help="write no RUN/tensorboard")
    group.add_argument("--wandb", metavar="PROJECT", help="log to Weights & Biases as well")


def execution_of(arguments: argparse.Namespace, kernels: NormKernels) -> ExecutionSpec:
    """How the arguments want the run carried out, with these kernels."""
    return ExecutionSpec(
        precision=arguments.precision,
        accumulate=arguments.accumulate,
        checkpoint_activations=arguments.checkpoint_activations,
        compile=arguments.compile,
        parallelism=arguments.parallelism,
        kernels=kernels,
    )
