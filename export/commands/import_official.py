"""dimr-export import-official: a checkpoint of DiMR's authors becomes a bundle."""

import argparse
import os
import re
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from export.checkpoint import SUFFIXES
from export.display import Display
from export.labels import read_labels
from export.official import Import, OutputUnwritable, import_official
from model.sampling.arguments import ArgumentRefused
from model.specs.base import ModelId
from model.specs.process import CodecSpec, LatentsSpec, PixelsSpec

NAME, HELP = "import-official", "a checkpoint of DiMR's authors becomes a bundle"
LICENCE = (
    "not stated with the checkpoint: the weights are their authors'; ImageNet, which they were "
    "trained on, is for non-commercial research and education"
)

_A_CHECKPOINT = f"a file: {', '.join(SUFFIXES)}"

DESCRIPTION = """\
Turn a checkpoint in the layout of DiMR's authors into a bundle. Every size but the number of heads
is read off the tensors, and a tensor that is missing, unexpected or misshapen is named.

The file may be PyTorch's, safetensors or NumPy's, and the state dict bare, inside dictionaries or
prefixed with "module.". It is loaded as weights only: code in it is refused, not run."""
EPILOG = """\
examples:
  dimr-export import-official nnet_ema.pth --heads 16 --out models/dimr-xl2r-256
  dimr-export import-official run.pth --heads 12 --key nnet_ema --labels names.txt --out models/mine
  dimr-export import-official nnet_ema.pth --heads 16 --out models/dimr-g2r-256 \\
      --autoencoder stabilityai/sd-vae-ft-ema

The released DiMR-XL and DiMR-G have 16 heads, M and L 12. A bundle of latents samples once it has
an autoencoder, now by --autoencoder or later by dimr-export add-autoencoder."""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments, and what runs with them."""
    parser.set_defaults(run=_import_official)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help=_A_CHECKPOINT)
    parser.add_argument(
        "--heads",
        type=_heads,
        required=True,
        metavar="N",
        help="attention heads; several Transformer stages that differ: one each, as in 12,6",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="folder of the bundle"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a bundle that is there already"
    )
    parser.add_argument(
        "--key", metavar="NAME", help="which of several state dicts in the file, such as ema"
    )
    parser.add_argument(
        "--autoencoder",
        metavar="SOURCE",
        help="folder in the format of diffusers, or OWNER/NAME on the Hugging Face Hub",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="names of the classes: one a line, or JSON (default: ImageNet's where there are 1000)",
    )
    parser.add_argument(
        "--codec",
        type=_codec,
        metavar="KIND:FACTOR",
        help="what the channels are, latents:8 or pixels:2 (default: 4 are latents:8, 3 pixels:1)",
    )
    parser.add_argument("--id", type=_model_id, metavar="ID", help="(default: by the file's name)")
    parser.add_argument("--description", metavar="TEXT", help="(default: made of the sizes)")
    parser.add_argument(
        "--licence", default=LICENCE, metavar="TEXT", help="of the weights (default: not stated)"
    )


def _heads(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text, re.ASCII):
        msg = f"got {text!r}; allowed: a whole number from 1, or several as in 12,6"
        raise argparse.ArgumentTypeError(msg)
    return tuple(map(int, text.split(",")))


def _codec(text: str) -> CodecSpec:
    match = re.fullmatch(r"(latents|pixels):([1-9]\d?)", text, re.ASCII)
    if match is None:
        msg = f"got {text!r}; allowed: latents:FACTOR or pixels:FACTOR, factors from 1 to 99"
        raise argparse.ArgumentTypeError(msg)
    factor = int(match[2])
    return LatentsSpec(factor=factor) if match[1] == "latents" else PixelsSpec(factor=factor)


def _model_id(text: str) -> str:
    try:
        return TypeAdapter(ModelId).validate_python(text)
    except ValidationError as error:
        msg = f"got {text!r}; allowed: lower-case letters, digits, '.', '_' and '-'"
        raise argparse.ArgumentTypeError(msg) from error


def _import_official(arguments: argparse.Namespace) -> str:
    """Import a checkpoint; returns what to tell the user."""
    out: Path = arguments.out
    _check_out(out, overwrite=arguments.overwrite)
    said = Import(
        heads=arguments.heads,
        place=arguments.key,
        id=arguments.id,
        description=arguments.description,
        licence=arguments.licence,
        classes=None if arguments.labels is None else read_labels(arguments.labels),
        codec=arguments.codec,
        autoencoder=arguments.autoencoder,
    )
    checkpoint: Path = arguments.checkpoint
    try:
        with Display(_size_of(checkpoint)) as display:
            manifest = import_official(checkpoint, out, said, display.began, display.advanced)
    except OSError as error:
        msg = f"argument CHECKPOINT: got {checkpoint}: {error.strerror}; allowed: {_A_CHECKPOINT}"
        raise ArgumentRefused(msg) from error
    lines = [f"bundle {manifest.id} in {out}: {manifest.description}"]
    if isinstance(manifest.process.codec, LatentsSpec) and said.autoencoder is None:
        lines.append(
            f"to make images, add an autoencoder: dimr-export add-autoencoder {out} SOURCE"
        )
    return "\n".join(lines)


def _size_of(checkpoint: Path) -> int:
    """Bytes of a file; a folder is refused."""
    if checkpoint.is_dir():
        msg = f"argument CHECKPOINT: got {checkpoint}: a folder; allowed: {_A_CHECKPOINT}"
        raise ArgumentRefused(msg)
    return checkpoint.stat().st_size


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse to replace what exists, and to replace anything but a bundle even when asked to.

    A folder that cannot come into being is refused now, and not after the work.
    """
    try:
        there = out.exists() or out.is_symlink()
        around = next(parent for parent in out.absolute().parents if parent.exists())
    except OSError as error:
        raise OutputUnwritable(out, error.strerror or "no path") from error
    if not around.is_dir():
        raise OutputUnwritable(out, f"{around} is a file")
    if not os.access(around, os.W_OK | os.X_OK):
        raise OutputUnwritable(out, f"{around} is not to be written")
    if not there:
        return
    if not overwrite:
        msg = f"argument --out: {out} exists; allowed: another folder, or --overwrite"
        raise ArgumentRefused(msg)
    if not (out / "manifest.json").is_file():
        msg = f"argument --out: {out} exists and is no bundle; allowed: another folder"
        raise ArgumentRefused(msg)
