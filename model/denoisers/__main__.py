"""`python -m model.denoisers`: parameters and multiply-adds of networks and of their parts."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import track
from rich.table import Table

from model.denoisers.counting import NetworkTooLarge, count_network
from model.denoisers.family import (
    VARIANTS,
    Member,
    Sheet,
    family_json,
    family_sheet,
    parts_sheet,
    ratio_line,
)
from model.files import write_whole
from model.specs.files import RecipeRefused, read_recipe, recipe_names

_PROGRAM = "python -m model.denoisers"
_COMPARED = 2  # recipes that have a ratio
_DESCRIPTION = """\
Print parameters and multiply-adds (MACs) of networks: of the five DiMR variants of the paper, or
of the recipes that are named.

Counted is one forward pass of one example without guidance: matrix products and convolutions,
attention included, over every token of a prompt; element-wise operations and norms are not. One
MAC is two FLOPs, and what the DiMR paper calls GFLOPs are GMACs. Stages of a layered network are
its scales, low to high. No weight is ever in memory, so this takes seconds on any machine."""
_EPILOG = """\
examples:
  python -m model.denoisers
  python -m model.denoisers dimr-xl2r-256 --parts
  python -m model.denoisers layered-512 layered-512-single --parts --ratio
  python -m model.denoisers my-recipe.json emoji-32 --json counts.json"""


class _ArgumentRefused(ValueError):
    """An argument of the command cannot be taken."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _ArgumentRefused(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 2 when something is wrong or 130 when it was interrupted."""
    try:
        return _run(_parser().parse_args(argv))
    except (_ArgumentRefused, RecipeRefused, NetworkTooLarge, OSError) as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        return 130


def _parser() -> _Parser:
    parser = _Parser(
        prog=_PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "recipes",
        nargs="*",
        default=VARIANTS,
        metavar="RECIPE",
        help=f"a JSON file, or one of {', '.join(recipe_names())} (default: the five variants)",
    )
    parser.add_argument("--parts", action="store_true", help="a table of each network's parts too")
    parser.add_argument(
        "--ratio",
        action="store_true",
        help="of two recipes: the first's cost as a share of the second's",
    )
    parser.add_argument(
        "--json", type=_json_path, metavar="FILE", help="write the exact numbers, parts included"
    )
    return parser


def _json_path(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        msg = f"got {text!r}; allowed: the path of a file, in a folder that exists"
        raise argparse.ArgumentTypeError(msg)
    return path


def _run(arguments: argparse.Namespace) -> int:
    if arguments.ratio and len(arguments.recipes) != _COMPARED:
        msg = f"argument --ratio: got {len(arguments.recipes)} recipes; allowed: {_COMPARED}"
        raise _ArgumentRefused(msg)
    recipes = [read_recipe(name) for name in arguments.recipes]
    progress = Console(stderr=True)
    members = [
        Member(recipe.id, count_network(recipe.network))
        for recipe in track(
            recipes,
            description="counting",
            console=progress,
            transient=True,
            disable=not progress.is_terminal,
        )
    ]
    if arguments.json is not None:
        write_whole(arguments.json, family_json(members).encode())
    _print(family_sheet(members))
    if arguments.ratio:
        print(f"\n{ratio_line(*members)}")
    if arguments.parts:
        for member in members:
            print()
            _print(parts_sheet(member))
    return 0


def _print(sheet: Sheet) -> None:
    console = Console()
    if not console.is_terminal:
        print(_aligned(sheet))
        return
    table = Table(title=sheet.title)
    for index, name in enumerate(sheet.header):
        table.add_column(name, justify="left" if index < sheet.labels else "right")
    for row in sheet.rows:
        table.add_row(*row)
    console.print(table)


def _aligned(sheet: Sheet) -> str:
    """The sheet in columns two spaces apart, for files and pipes."""
    lines = (sheet.header, *sheet.rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [sheet.title]
    for line in lines:
        cells = (
            cell.ljust(width) if index < sheet.labels else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


if __name__ == "__main__":
    sys.exit(main())
