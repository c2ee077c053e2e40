"""dimr-export add-autoencoder: a bundle of latents gets the autoencoder that decodes them."""

import argparse
from pathlib import Path

from model.bundle import add_autoencoder
from model.sampling.arguments import ArgumentRefused

NAME, HELP = "add-autoencoder", "a bundle of latents gets the autoencoder that decodes them"
DESCRIPTION = """\
Copy an autoencoder into a bundle of latents, which cannot make images without one. One that the
bundle has already is replaced."""
EPILOG = """\
examples:
  dimr-export add-autoencoder models/dimr-xl2r-256 stabilityai/sd-vae-ft-ema
  dimr-export add-autoencoder models/dimr-xl2r-256 downloads/sd-vae-ft-ema

Needs diffusers: pip install 'dimr-serve[latents]'."""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments, and what runs with them."""
    parser.set_defaults(run=_add_autoencoder)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder in the format of diffusers, or OWNER/NAME on the Hugging Face Hub",
    )


def _add_autoencoder(arguments: argparse.Namespace) -> str:
    """Add an autoencoder; returns what to tell the user."""
    try:
        manifest = add_autoencoder(arguments.bundle, arguments.source)
    except OSError as error:
        msg = (
            f"argument BUNDLE: got {arguments.bundle}: {error.strerror}; "
            f"allowed: a bundle that can be written"
        )
        raise ArgumentRefused(msg) from error
    return f"bundle {manifest.id} in {arguments.bundle} has its autoencoder"
