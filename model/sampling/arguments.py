"""Command-line arguments of sampling: their ranges, and complaints of one line."""

import argparse
import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import NoReturn, TypeVar

from model.sampling.devices import add_device
from model.sampling.noise import MAX_SEED
from model.sampling.samplers import SAMPLERS
from model.sampling.tables import MAX_STEPS
from model.specs.process import SamplingDefaults

E = TypeVar("E", bound=StrEnum)

MAX_GUIDANCE = 100.0
MAX_THREADS = 1024


class ArgumentRefused(ValueError):
    """An argument of a command; the message names it, what was given and what is allowed."""


class Parser(argparse.ArgumentParser):
    """A parser that complains by `ArgumentRefused` instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print below its usage."""
        raise ArgumentRefused(message)


def integer(least: int, most: int) -> Callable[[str], int]:
    """An argument type: whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            msg = f"got {text!r}; allowed: a whole number from {least} to {most}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """An argument type: numbers from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            msg = f"got {text!r}; allowed: a number from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse


def member(kind: type[E]) -> Callable[[str], E]:
    """An argument type: a value of an enumeration of strings."""

    def parse(text: str) -> E:
        try:
            return kind(text)
        except ValueError:
            msg = f"got {text!r}; allowed: {', '.join(kind)}"
            raise argparse.ArgumentTypeError(msg) from None

    return parse


def sampler_name(text: str) -> str:
    """An argument type: the name of a sampler."""
    if text not in SAMPLERS:
        msg = f"got {text!r}; allowed: {', '.join(SAMPLERS)}"
        raise argparse.ArgumentTypeError(msg)
    return text


def prompt_text(text: str) -> str:
    """An argument type: a text that can be stored, whatever bytes the shell hands over."""
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = f"got {text!r}; allowed: text in UTF-8"
        raise argparse.ArgumentTypeError(msg) from None
    return text


def png_path(text: str) -> Path:
    """An argument type: the path of a PNG file, there or not."""
    path = Path(text)
    if path.suffix.lower() != ".png" or path.is_dir():
        msg = f"got {text!r}; allowed: the path of a file that ends in .png"
        raise argparse.ArgumentTypeError(msg)
    return path


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --steps, --guidance, --sampler, --seed, --threads and --device."""
    parser.add_argument(
        "--steps",
        type=integer(1, MAX_STEPS),
        metavar="N",
        help="network calls per image (default: the bundle's)",
    )
    parser.add_argument(
        "--guidance",
        type=number(0, MAX_GUIDANCE),
        metavar="S",
        help="how strongly the class or prompt pulls; 1 is none and halves the work (default: the "
        "bundle's)",
    )
    parser.add_argument(
        "--sampler",
        type=sampler_name,
        metavar="NAME",
        help=f"one of {', '.join(SAMPLERS)} (default: the bundle's)",
    )
    parser.add_argument(
        "--seed",
        type=integer(0, MAX_SEED),
        default=0,
        metavar="N",
        help="the first seed; those of further images count up from it (default: 0)",
    )
    parser.add_argument(
        "--threads",
        type=integer(1, MAX_THREADS),
        metavar="N",
        help="CPU threads (default: all)",
    )
    add_device(parser)


def chosen_sampling(arguments: argparse.Namespace, defaults: SamplingDefaults) -> SamplingDefaults:
    """What was asked for by `add_sampling_arguments`, and the bundle's where nothing was."""
    asked = {name: getattr(arguments, name) for name in ("steps", "guidance", "sampler")}
    return defaults.model_copy(update={k: v for k, v in asked.items() if v is not None})
