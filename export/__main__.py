"""dimr-export: make bundles of checkpoints from elsewhere, complete them, and compile them."""

import argparse
import sys
from collections.abc import Sequence

from export.checkpoint import CheckpointRefused
from export.commands import add_autoencoder, build, import_official, verify
from export.compilers.build import BundleUnwritable
from export.compilers.errors import CompilerRefused
from export.graph.trace import GraphRefused, OnnxAbsent
from export.official import OutputUnwritable
from model.autoencoder import AutoencoderRefused
from model.bundle import BundleRefused
from model.data.errors import DataError
from model.denoisers.carriers import LayoutMismatch
from model.sampling.arguments import ArgumentRefused, Parser

PROGRAM = "dimr-export"

_DESCRIPTION = """\
Make bundles, the folders that dimr-serve and dimr-sample read, of checkpoints from elsewhere, and
compile bundles into engines."""
_EPILOG = """\
examples:
  dimr-export import-official imagenet256_xl2r.pth --heads 16 --out models/xl2r
  dimr-export add-autoencoder models/xl2r stabilityai/sd-vae-ft-ema
  dimr-export build models/xl2r --backend tensorrt-rtx --arch sm80 --report report.json
  dimr-export verify models/xl2r"""

_COMMANDS = (import_official, add_autoencoder, build, verify)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 2 when something is wrong or 130 when it was interrupted."""
    try:
        arguments = _parser().parse_args(argv)
        print(arguments.run(arguments))
    except (
        ArgumentRefused,
        AutoencoderRefused,
        BundleRefused,
        BundleUnwritable,
        CheckpointRefused,
        CompilerRefused,
        DataError,
        GraphRefused,
        LayoutMismatch,
        OnnxAbsent,
        OutputUnwritable,
    ) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; no half-written file is left", file=sys.stderr)
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in _COMMANDS:
        command.describe(
            commands.add_parser(
                command.NAME,
                help=command.HELP,
                description=command.DESCRIPTION,
                epilog=command.EPILOG,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
