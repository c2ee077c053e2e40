"""`python -m model.data`: build the rasterised emoji set from its public packages."""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from model.data.errors import DataError
from model.data.index import Index
from model.data.mosaic import TILE_SIZES

_CACHE = Path.home() / ".cache" / "dimr-serve" / "packages"
_DESCRIPTION = """\
Build the emoji set that the demo model is trained on: Noto Emoji (Apache-2.0), Fluent Emoji flat
and gradient (MIT), drawn from their vector icons on white, without people, symbols and flags.

The set ships ready-made at 64 px in deploy/data/emoji; build it again for another size. Needs npm
on the PATH to download four public packages once (about 93 MB, pinned by sha256); archives
already in --packages are used as they are, so a filled folder needs no network."""
_EPILOG = """\
examples:
  python -m model.data --out emoji-64
  python -m model.data --out emoji-256 --size 256 --packages ~/packages

The output folder appears complete (lossless sheets, index.json, NOTICE) or not at all. Building
takes about a minute of processor time at 64 px and half an hour at 512 px."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 when the build failed or 130 when it was interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if missing := [name for name in ("resvg_py", "rich") if find_spec(name) is None]:
        parser.error(f"{', '.join(missing)} is not installed; pip install 'dimr-serve[data]'")
    try:
        index = _build(options.packages.expanduser(), options.out.expanduser(), options.size)
    except (DataError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; {options.out} was not made", file=sys.stderr)
        return 130
    images = sum(len(sheet.keys) for sheet in index.sheets)
    print(f"{options.out}: {images} images of {len(index.concepts)} concepts at {index.tile} px")
    for sheet in index.sheets:
        print(f"  {sheet.file}  {len(sheet.keys)} images  sha256 {sheet.sha256}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.data",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to make; must not exist yet"
    )
    parser.add_argument(
        "--packages",
        type=Path,
        default=_CACHE,
        metavar="DIR",
        help=f"where package archives are kept (default: {_CACHE})",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=64,
        choices=TILE_SIZES,
        metavar="PIXELS",
        help=f"side of every image: {', '.join(map(str, TILE_SIZES))} (default: 64)",
    )
    return parser


def _build(packages: Path, out: Path, size: int) -> Index:
    """Build under a progress bar a style; imports what only the `data` extra installs."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from model.data.emoji import build_emoji

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
