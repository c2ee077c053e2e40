"""`python -m model.study`: the paper's ablations, trained and measured side by side."""

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from model.data.errors import DataError
from model.denoisers.counting import count_network
from model.evaluation.classifier import ClassifierSpec, weights_sha256
from model.evaluation.evaluation import load_training_images
from model.evaluation.monitor import ACCURACY, small_monitor
from model.files import write_whole
from model.sampling.arguments import MAX_THREADS, Parser, integer
from model.sampling.painter import to_levels
from model.specs.data import EmojiData
from model.specs.files import read_recipe
from model.specs.recipe import Recipe
from model.study.results import (
    HEADINGS,
    Result,
    Study,
    cells,
    check_same,
    read_study,
    write_study,
)
from model.study.rows import ROWS, Row
from model.study.study import Bench, run_row
from model.training.data import load_emoji_tensors
from model.training.display import Display

PROGRAM = "python -m model.study"
_DESCRIPTION = """\
Train every row of DiMR's ablation tables on the shipped images, with equal data, images seen and
settings, and measure each the same way: denoising error, class accuracy and small-feature Fréchet
distance of samples under one judge. Rows that are finished are not done again, and one that was
interrupted continues, so the command may be stopped at any time."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = _parser().parse_args(given)
        rows = _rows(arguments.rows)
        base = read_recipe(arguments.base)
        if arguments.steps is not None:
            training = base.training.model_copy(update={"steps": arguments.steps})
            base = base.model_copy(update={"training": training})
        if arguments.threads is not None:
            torch.set_num_threads(arguments.threads)
        if arguments.recipes is not None:
            return _write_recipes(arguments.recipes, base, rows)
        return _study(arguments, base, rows, shlex.join([*PROGRAM.split(), *given]))
    except (ValueError, OSError, DataError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; the same command continues", file=sys.stderr)
        return 130


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog="rows:\n" + "\n".join(_line(row) for row in ROWS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the emoji set")
    parser.add_argument("--out", type=Path, metavar="DIR", help="results, checkpoints and samples")
    parser.add_argument(
        "--recipes",
        type=Path,
        metavar="DIR",
        help="only write each row's recipe to DIR, for dimr-train, and print the counts",
    )
    parser.add_argument(
        "--base",
        default="ablation-32",
        metavar="RECIPE",
        help="the DiMR that rows vary; dimr-m3r-64 is the paper's (default: ablation-32)",
    )
    parser.add_argument(
        "--rows", metavar="A,B,...", help="some of the rows below (default: all, in that order)"
    )
    parser.add_argument(
        "--steps", type=integer(1, 10**9), metavar="N", help="steps in place of the base's"
    )
    parser.add_argument(
        "--samples-per-class",
        type=integer(1, 1000),
        default=8,
        metavar="N",
        help="samples that the judge looks at (default: 8)",
    )
    parser.add_argument(
        "--threads", type=integer(1, MAX_THREADS), metavar="N", help="CPU threads (default: all)"
    )
    return parser


def _line(row: Row) -> str:
    return f"  {row.name:12} {row.meaning} ({row.table})"


def _rows(names: str | None) -> list[Row]:
    if names is None:
        return list(ROWS.values())
    unknown = [name for name in names.split(",") if name not in ROWS]
    if unknown:
        msg = f"--rows: got {', '.join(unknown)}; allowed: {', '.join(ROWS)}"
        raise ValueError(msg)
    return [ROWS[name] for name in names.split(",")]


def _write_recipes(folder: Path, base: Recipe, rows: Sequence[Row]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    table = Table("row", "what", "paper", "parameters", "GMAC")
    for row in rows:
        recipe = row.recipe(base)
        write_whole(folder / f"{recipe.id}.json", recipe.model_dump_json(indent=2).encode())
        count = count_network(recipe.network)
        figures = (f"{count.parameters:,}", f"{count.macs / 1e9:.2f}")
        table.add_row(row.name, row.meaning, row.table, *figures)
    Console().print(table)
    print(f"{len(rows)} recipes in {folder}; train one with dimr-train {folder}/NAME.json")
    return 0


def _study(arguments: argparse.Namespace, base: Recipe, rows: Sequence[Row], command: str) -> int:
    if arguments.data is None or arguments.out is None:
        msg = "--data and --out: needed; allowed: folders (or --recipes DIR alone)"
        raise ValueError(msg)
    if not isinstance(base.data, EmojiData):
        msg = f"--base: got data of kind {base.data.kind!r}; allowed: 'emoji' (or --recipes DIR)"
        raise ValueError(msg)
    real = load_training_images(base.data, arguments.data)
    data = load_emoji_tensors(base, str(arguments.data))
    judge = small_monitor(
        real.pictures.images,
        real.pictures.labels,
        classes=len(real.classes),
        spec=ClassifierSpec(),
        on_step=lambda step: None,
    )
    study = Study(
        base=base.id,
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=platform.processor() or platform.machine(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        samples_per_class=arguments.samples_per_class,
        judge_sha256=weights_sha256(judge.classifier),
        judge_real_accuracy=judge(to_levels(real.pictures.images), real.pictures.labels.numpy())[
            ACCURACY
        ],
    )
    done = _done(arguments.out, study, base)
    bench = Bench(data, judge, arguments.samples_per_class)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if row.name in done:
            continue
        recipe, folder = row.recipe(base), arguments.out / row.name
        spec = recipe.training
        with Display(steps=spec.steps, start=0, batch=spec.batch, name=row.name) as display:
            done[row.name] = run_row(row, recipe, bench, folder, display.show)
        results = tuple(done[name] for name in ROWS if name in done)
        write_study(arguments.out, study.model_copy(update={"results": results}))
    table = Table(*HEADINGS, title=base.id)
    for name in ROWS:
        if name in done:
            table.add_row(*cells(done[name]))
    Console().print(table)
    print(f"results in {arguments.out}/results.json and results.md")
    return 0


def _done(folder: Path, study: Study, base: Recipe) -> dict[str, Result]:
    """Rows that an earlier call finished, which must belong with those of this one."""
    before = read_study(folder)
    if before is None:
        return {}
    check_same(folder, before, study, {name: row.recipe(base) for name, row in ROWS.items()})
    return {result.row: result for result in before.results}


if __name__ == "__main__":
    sys.exit(main())
