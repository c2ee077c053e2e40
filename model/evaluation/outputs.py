"""Where results go: checked before the work, written whole after it."""

import argparse
from collections.abc import Callable
from pathlib import Path

from model.files import write_whole
from model.sampling.arguments import ArgumentRefused
from model.specs.base import Spec


def file_path(suffix: str) -> Callable[[str], Path]:
    """An argument type: the path of a file that ends in `suffix`, there or not."""

    def parse(text: str) -> Path:
        path = Path(text)
        if path.suffix != suffix or path.is_dir():
            msg = f"got {text!r}; allowed: the path of a file that ends in {suffix}"
            raise argparse.ArgumentTypeError(msg)
        return path

    return parse


def folder_path(text: str) -> Path:
    """An argument type: the path of a folder, there or not."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        msg = f"got {text!r}, a file; allowed: a folder"
        raise argparse.ArgumentTypeError(msg)
    return path


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add --overwrite."""
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")


def refuse_existing(paths: list[Path], *, overwrite: bool) -> None:
    """Refuse, before any work, to replace files that nobody asked to replace.

    Raises:
        ArgumentRefused: one of them exists.
    """
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        msg = f"argument --out: {existing[0]} exists already; allowed: another name, or --overwrite"
        raise ArgumentRefused(msg)


def write_report(path: Path, report: Spec) -> None:
    """Write a report as JSON; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (report.model_dump_json(indent=1) + "\n").encode())
