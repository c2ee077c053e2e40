"""The command line of `python -m model.latents`."""

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path

from model.data.images.syntax import LOCATIONS
from model.latents.features import AUTHORS_BATCH
from model.sampling.arguments import ArgumentRefused, Parser, integer
from model.specs.data import OnBad

PROGRAM = "python -m model.latents"
MAX_SIDE, MAX_BATCH, MAX_SHARD, MAX_THREADS = 4096, 4096, 1 << 20, 1024

_DESCRIPTION = """\
Compute the moments of an autoencoder's latents once, so that training reads them instead of images.

A folder of latents holds the moments of every image and of its mirror image in safetensors shards,
and an index.json that names the autoencoder, the classes and every shard."""
_ENCODE = """\
Encode every image of LOCATION, cropped as ADM does, and its mirror image.

The command may be killed at any moment and run again: complete shards are checked and kept, the
others computed again, byte by byte what they would have been. Under torchrun, or with --shard, the
processes share the shards; the one that completes the last writes index.json.

LOCATION is one of
"""
_ENCODE_EPILOG = """\
examples:
  python -m model.latents encode imagenet/train --autoencoder stabilityai/sd-vae-ft-ema \\
      --size 256 --out latents-256 --device cuda
  torchrun --nproc-per-node 8 -m model.latents encode imagenet/train --autoencoder sd-vae \\
      --size 256 --out latents-256 --device cuda --batch 64
  python -m model.latents encode photos --autoencoder sd-vae --size 256 --out latents --on-bad skip

A location that can only be read as a stream is refused; download it first. An image of 256 pixels
takes 64 kB. Exit status: 0 when this share is complete, 2 when something is wrong."""
_IMPORT = """\
Convert the feature files of the DiMR authors' extraction script (DIR/0.npy, 1.npy, ...), which hold
the same moments one file an image. Their pickles are read without running what they name."""
_CHECK = (
    "Compare every byte of a folder of latents with its index; exit status 1 where they differ."
)


def build_parser() -> Parser:
    """The parser; `command` says which of the three was asked for."""
    parser = Parser(prog=PROGRAM, description=_DESCRIPTION, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add_encode(commands)
    _add_import(commands)
    check = commands.add_parser("check", help="compare a folder with its index", description=_CHECK)
    check.add_argument("folder", type=Path, metavar="DIR", help="folder of latents")
    return parser


def _add_encode(commands: "argparse._SubParsersAction[Parser]") -> None:
    encode = commands.add_parser(
        "encode",
        help="encode images",
        description=_ENCODE + LOCATIONS,
        epilog=_ENCODE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    encode.add_argument("location", metavar="LOCATION", help="labelled images")
    encode.add_argument(
        "--autoencoder",
        required=True,
        metavar="SOURCE",
        help="folder in the format of diffusers, or OWNER/NAME of the Hugging Face Hub",
    )
    encode.add_argument(
        "--size",
        type=integer(1, MAX_SIDE),
        required=True,
        metavar="PIXELS",
        help="side of the crop",
    )
    encode.add_argument(
        "--channels",
        type=integer(1, 64),
        default=4,
        metavar="C",
        help="channels of a latent (default: 4)",
    )
    encode.add_argument(
        "--factor",
        type=integer(1, 64),
        default=8,
        metavar="F",
        help="pixels a latent cell, each way (default: 8)",
    )
    encode.add_argument(
        "--batch",
        type=integer(1, MAX_BATCH),
        default=16,
        metavar="N",
        help="images encoded at once (default: 16)",
    )
    encode.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="what encodes (default: cpu)"
    )
    _add_writing(encode)


def _add_import(commands: "argparse._SubParsersAction[Parser]") -> None:
    features = commands.add_parser(
        "import-features", help="convert the DiMR authors' feature files", description=_IMPORT
    )
    features.add_argument("folder", type=Path, metavar="DIR", help="folder of .npy files")
    features.add_argument(
        "--batch",
        type=integer(1, MAX_SHARD),
        default=AUTHORS_BATCH,
        metavar="N",
        help=f"images in a batch of the extraction (default: {AUTHORS_BATCH})",
    )
    _add_writing(features)


def _add_writing(parser: argparse.ArgumentParser) -> None:
    """Add what both commands that write have in common."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of latents; made where it is missing, continued where it was begun alike",
    )
    parser.add_argument(
        "--class-index",
        type=Path,
        metavar="FILE",
        help="names of the classes (default: the data's; for features those of ImageNet)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="how moments are stored (default: float32)",
    )
    parser.add_argument(
        "--shard-size",
        type=integer(1, MAX_SHARD),
        default=1024,
        metavar="M",
        help="images a shard, which is what an interruption costs (default: 1024)",
    )
    parser.add_argument(
        "--shard",
        type=_share,
        metavar="I/N",
        help="share I of N of the work, from 0/N (default: torchrun's, or all of it)",
    )
    threads = os.cpu_count() or 1
    parser.add_argument(
        "--threads",
        type=integer(1, MAX_THREADS),
        default=threads,
        metavar="N",
        help=f"how many files are read and decoded at once (default: {threads}, all processors)",
    )
    parser.add_argument(
        "--on-bad",
        type=OnBad,
        choices=tuple(OnBad),
        default=OnBad.STOP,
        help="end at an image that cannot be used, or leave it out and name it in the index "
        "(default: stop)",
    )


def _share(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text, re.ASCII)
    if match is None or not int(match[1]) < int(match[2]):
        msg = f"got {text!r}; allowed: I/N, whole numbers with 0 <= I < N"
        raise argparse.ArgumentTypeError(msg)
    return int(match[1]), int(match[2])


def chosen_share(asked: tuple[int, int] | None, environment: Mapping[str, str]) -> tuple[int, int]:
    """(share, shares) from --shard, or from what torchrun sets, or the whole.

    Raises:
        ArgumentRefused: both are given.
    """
    if "WORLD_SIZE" not in environment:
        return asked or (0, 1)
    if asked is not None:
        msg = "argument --shard: got it under torchrun; allowed: one of the two"
        raise ArgumentRefused(msg)
    return int(environment["RANK"]), int(environment["WORLD_SIZE"])
