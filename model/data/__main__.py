"""`python -m model.data`: check training images, or build the emoji set from its packages."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from model.data.emoji.index import Index
from model.data.emoji.mosaic import TILE_SIZES
from model.data.errors import DataError
from model.data.images.syntax import CAPTIONED, LOCATIONS
from model.specs.data import OnBad

if TYPE_CHECKING:
    from model.data.images.bad import BadExamples
    from model.data.images.sources import Records, RecordStream
    from model.data.source import Example

PROGRAM = "python -m model.data"
_CACHE = Path.home() / ".cache" / "dimr-serve" / "packages"
_DESCRIPTION = "Check the images that a model is to be trained on, or build the shipped emoji set."
_EMOJI = """\
Build the emoji set that the demo model is trained on: Noto Emoji (Apache-2.0), Fluent Emoji flat
and gradient (MIT), drawn from their vector icons on white, without people, symbols and flags.

The set ships ready-made at 64 px in deploy/data/emoji; build it again for another size. Needs npm
on the PATH to download four public packages once (about 93 MB, pinned by sha256); archives
already in --packages are used as they are, so a filled folder needs no network."""
_EMOJI_EPILOG = """\
examples:
  python -m model.data emoji --out emoji-64
  python -m model.data emoji --out emoji-256 --size 256 --packages ~/packages

The output folder appears complete (lossless sheets, index.json, NOTICE) or not at all. Building
takes about a minute of processor time at 64 px and half an hour at 512 px."""
_CHECK = """\
Read, decode and crop every image of a data set once, as training would. Prints how many each class
has, or how many captions there are and how long, and names every image, shard, label and caption
that cannot be used, with the reason.

LOCATION is one of
"""
_CHECK_EPILOG = """\
examples:
  python -m model.data check imagenet/train --size 256
  python -m model.data check 'shards/train-{000..127}.tar' --size 64
  python -m model.data check hf:OWNER/NAME#validation --size 256
  python -m model.data check photos --captions --size 512

Exit status: 0 when everything can be used, 1 when something cannot, 2 when there is nothing to
check."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, 1 when the build failed or an image cannot be used, 2 when there is nothing to check, or
        130 when it was interrupted.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "check":
        return _check(parser, options)
    return _emoji(parser, options)


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Check under a bar; imports what only the `model` extra installs."""
    _need(parser, "model", "torch", "PIL", "rich")
    from model.data.images.bad import BadExamples
    from model.data.images.bad import logger as bad_logger

    bad_logger.addHandler(logging.NullHandler())  # the report names them
    bad = BadExamples(OnBad.SKIP)
    try:
        counted = (
            _count_captions(options, bad) if options.captions else _count_classes(options, bad)
        )
    except (DataError, OSError) as error:
        for line in _unusable(bad):
            print(line)
        print(f"{PROGRAM} check: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM} check: interrupted", file=sys.stderr)
        return 130
    *lines, last = counted
    print(*lines, *_unusable(bad), f"{last}; {len(bad.reasons)} unusable", sep="\n")
    return 1 if bad.reasons else 0


def _count_classes(options: argparse.Namespace, bad: "BadExamples") -> list[str]:
    """Lines that say how many images each class has."""
    from model.data.images.check import count_classes
    from model.data.images.locations import open_records

    records = open_records(options.location, bad, class_index=options.class_index)
    census = count_classes(records.classes, _checked(records, options, bad))
    counted = zip(census.classes.names, census.counts, strict=True)
    return [
        *(f"{label:>6}  {count:>9}  {name}" for label, (name, count) in enumerate(counted)),
        f"{sum(census.counts)} images in {len(census.counts)} classes",
    ]


def _count_captions(options: argparse.Namespace, bad: "BadExamples") -> list[str]:
    """Lines that say how many captions there are and of what length."""
    from model.data.images.check import count_captions
    from model.data.images.locations import open_captioned_records

    records = open_captioned_records(options.location, bad)
    census = count_captions(_checked(records, options, bad))
    return [
        f"captions of an image: {_spread(census.captions)}",
        f"characters of a caption: {_spread(census.characters)}",
        f"{len(census.captions)} images with {len(census.characters)} captions",
    ]


def _spread(numbers: Sequence[int]) -> str:
    """The least, the largest and the mean."""
    if not numbers:
        return "none"
    return f"{min(numbers)} to {max(numbers)}, {sum(numbers) / len(numbers):.1f} on average"


def _checked(
    records: "Records | RecordStream", options: argparse.Namespace, bad: "BadExamples"
) -> Iterator["Example"]:
    """The examples that can be used, read under a bar."""
    from model.data.images.check import check_records, check_stream
    from model.data.images.progress import image_bar
    from model.data.images.sources import RecordStream

    if isinstance(records, RecordStream):
        with image_bar("checking", None) as done:
            yield from check_stream(records, options.size, bad, threads=options.threads, done=done)
    else:
        with image_bar("checking", len(records)) as done:
            yield from check_records(records, options.size, bad, threads=options.threads, done=done)


def _unusable(bad: "BadExamples") -> list[str]:
    return [f"unusable: {where}: {reason}" for where, reason in bad.reasons.items()]


def _need(parser: argparse.ArgumentParser, extra: str, *packages: str) -> None:
    if missing := [name for name in packages if find_spec(name) is None]:
        parser.error(f"{', '.join(missing)} is not installed; pip install 'dimr-serve[{extra}]'")


def _emoji(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    _need(parser, "data", "resvg_py", "rich")
    try:
        index = _build(options.packages.expanduser(), options.out.expanduser(), options.size)
    except (DataError, OSError) as error:
        print(f"{PROGRAM} emoji: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{PROGRAM} emoji: interrupted; {options.out} was not made", file=sys.stderr)
        return 130
    images = sum(len(sheet.keys) for sheet in index.sheets)
    print(f"{options.out}: {images} images of {len(index.concepts)} concepts at {index.tile} px")
    for sheet in index.sheets:
        print(f"  {sheet.file}  {len(sheet.keys)} images  sha256 {sheet.sha256}")
    return 0


class _Parser(argparse.ArgumentParser):
    """Complains in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description=_DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    emoji = commands.add_parser(
        "emoji",
        help="build the emoji set from its packages",
        description=_EMOJI,
        epilog=_EMOJI_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    emoji.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to make; must not exist yet"
    )
    emoji.add_argument(
        "--packages",
        type=Path,
        default=_CACHE,
        metavar="DIR",
        help=f"where package archives are kept (default: {_CACHE})",
    )
    emoji.add_argument(
        "--size",
        type=int,
        default=64,
        choices=TILE_SIZES,
        metavar="PIXELS",
        help=f"side of every image: {', '.join(map(str, TILE_SIZES))} (default: 64)",
    )
    check = commands.add_parser(
        "check",
        help="count the images of a data set and name the bad ones",
        description=f"{_CHECK}{LOCATIONS}\n\nor, with --captions,\n{CAPTIONED}",
        epilog=_CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("location", metavar="LOCATION", help="what to check")
    check.add_argument(
        "--size", type=_positive, required=True, metavar="PIXELS", help="side of the crops"
    )
    beside = check.add_mutually_exclusive_group()
    beside.add_argument(
        "--class-index",
        type=Path,
        metavar="FILE",
        help="names of the classes (default: the data's)",
    )
    beside.add_argument(
        "--captions", action="store_true", help="the images have captions instead of classes"
    )
    threads = os.cpu_count() or 1
    check.add_argument(
        "--threads",
        type=_positive,
        default=threads,
        metavar="N",
        help=f"how many decode at once (default: {threads}, the processors of this machine)",
    )
    return parser


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        msg = f"got {text!r}; allowed: a whole number from 1"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _build(packages: Path, out: Path, size: int) -> Index:
    """Build under a progress bar a style; imports what only the `data` extra installs."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from model.data.emoji.build import build_emoji

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as display:
        fetching = display.add_task("packages", total=None)
        bars: dict[str, TaskID] = {}

        def show(style: str, total: int) -> None:
            display.update(fetching, visible=False)
            if style not in bars:
                bars[style] = display.add_task(style, total=total)
            display.advance(bars[style])

        return build_emoji(packages, out, size=size, progress=show)


if __name__ == "__main__":
    sys.exit(main())
