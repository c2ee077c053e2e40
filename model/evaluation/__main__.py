"""dimr-evaluate: measure a bundle, or the images it made."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from rich.console import Console

from model.bundle import BundleRefused
from model.data.errors import DataError
from model.diffusion.errors import ParameterRejected
from model.evaluation.command import Command, Invocation
from model.evaluation.commands import adaln, compare, distortion, sample, small
from model.evaluation.errors import EvaluationRefused
from model.sampling.arguments import ArgumentRefused, Parser

PROGRAM = "dimr-evaluate"

_COMMANDS = (
    small.COMMAND,
    sample.COMMAND,
    compare.COMMAND,
    distortion.COMMAND,
    adaln.COMMAND,
)
_DESCRIPTION = """\
Measure a bundle, or the images it made. `dimr-evaluate COMMAND --help` explains each command."""
_EPILOG = """\
examples:
  dimr-evaluate small BUNDLE --data deploy/data/emoji --out report.json
  dimr-evaluate sample BUNDLE --n 50000 --out samples.npz
  dimr-evaluate compare samples.npz --reference reference.npz --inception weights.pth \\
      --out report.json

The first is for bundles trained on the shipped small data. The other two are the usual way to an
FID: images in one file, which ADM's evaluation suite reads as well, then their comparison with a
reference. Every command refuses bad input in one line on stderr with exit status 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 2 when something is wrong or 130 when it was interrupted."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = _parser().parse_args(given)
        command: Command = arguments.command
        return _run(command, Invocation(arguments, shlex.join([PROGRAM, *given]), Console()))
    except (
        ArgumentRefused,
        BundleRefused,
        DataError,
        EvaluationRefused,
        ParameterRejected,
        OSError,
    ) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2


def _run(command: Command, invocation: Invocation) -> int:
    try:
        command.run(invocation)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; {command.interrupted}", file=sys.stderr)
        return 130
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        own = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(own)
        own.set_defaults(command=command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
