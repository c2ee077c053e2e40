"""`python -m model.study`: what the papers claim, trained and measured side by side."""

import argparse
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from model.data.errors import DataError
from model.denoisers.counting import count_network
from model.evaluation.display import Display as Bars
from model.evaluation.plots import check_plotting
from model.files import write_whole
from model.sampling.arguments import MAX_THREADS, Parser, integer
from model.specs.files import read_recipe
from model.specs.recipe import Recipe
from model.study import dimr, layered
from model.study.bench import Bench, open_bench
from model.study.plots import plots
from model.study.results import Result, Study, Subject, check_same, read_study, write_study
from model.study.rows import Row
from model.study.study import measure_row, train_row
from model.study.table import markdown, terminal_table
from model.study.timing import call_ms
from model.training.display import Display

PROGRAM = "python -m model.study"
TABLE_NAME = "results.md"


@dataclass(frozen=True, slots=True)
class Claims:
    """What one study is made of."""

    summary: str
    base: str
    rows: Mapping[str, Row]


CLAIMS: Mapping[Subject, Claims] = {
    Subject.DIMR: Claims("DiMR's ablation tables", "ablation-32", dimr.ROWS),
    Subject.LAYERED: Claims("layered diffusion's claims", "layered-ablation-32", layered.ROWS),
}
_DESCRIPTION = """\
Train every row of a study on the shipped images, with equal data, images seen and settings, and
measure each the same way: denoising error, accuracy and small-feature Fréchet distance of samples
under one judge, multiply-adds, and the time of a network call, all networks taking turns. Rows that
are finished are not done again, and one that was interrupted continues, so the command may be
stopped at any time."""
_EPILOG = """\
examples:
  python -m model.study dimr --data deploy/data/emoji --out runs/study
  python -m model.study layered --data deploy/data/emoji --out runs/layered-study
  python -m model.study --base dimr-m3r-64 --recipes ablations"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = _parser().parse_args(given)
        claims = CLAIMS[arguments.study]
        rows = _rows(arguments.rows, claims)
        base = read_recipe(arguments.base or claims.base)
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
    listed = [f"{name}: {claims.summary}\n{_listed(claims)}" for name, claims in CLAIMS.items()]
    parser = Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog="\n\n".join((_EPILOG, *listed)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "study",
        nargs="?",
        type=_subject,
        default=Subject.DIMR,
        metavar="STUDY",
        help=f"whose claims, {' or '.join(Subject)} (default: dimr)",
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
        metavar="RECIPE",
        help="what rows vary; dimr-m3r-64 is the DiMR paper's "
        f"(default: {' or '.join(claims.base for claims in CLAIMS.values())})",
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
        help="samples of each class or caption that the judge looks at (default: 8)",
    )
    parser.add_argument(
        "--threads", type=integer(1, MAX_THREADS), metavar="N", help="CPU threads (default: all)"
    )
    return parser


def _subject(text: str) -> Subject:
    """An argument type: the name of a study."""
    if text not in CLAIMS:
        msg = f"got {text!r}; allowed: {', '.join(CLAIMS)}"
        raise argparse.ArgumentTypeError(msg)
    return Subject(text)


def _listed(claims: Claims) -> str:
    width = max(map(len, claims.rows))
    return "\n".join(
        f"  {row.name:{width}} {row.meaning} ({row.table})" for row in claims.rows.values()
    )


def _rows(names: str | None, claims: Claims) -> list[Row]:
    if names is None:
        return list(claims.rows.values())
    unknown = [name for name in names.split(",") if name not in claims.rows]
    if unknown:
        msg = f"--rows: got {', '.join(unknown)}; allowed: {', '.join(claims.rows)}"
        raise ValueError(msg)
    return [claims.rows[name] for name in names.split(",")]


def _write_recipes(folder: Path, base: Recipe, rows: Sequence[Row]) -> int:
    recipes = [row.recipe(base) for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    table = Table("row", "what", "paper", "parameters", "GMAC")
    for row, recipe in zip(rows, recipes, strict=True):
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
    check_plotting()
    all_rows = CLAIMS[arguments.study].rows
    recipes = {name: row.recipe(base) for name, row in all_rows.items()}
    with Bars() as bars:
        bench = open_bench(base, arguments.data, arguments.samples_per_class, bars.show)
    top = bench.judges[max(bench.judges)]
    study = Study(
        subject=arguments.study,
        base=base.id,
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=platform.processor() or platform.machine(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        samples_per_class=arguments.samples_per_class,
        judge_sha256=top.sha256,
        judge_real_accuracy=top.real_accuracy,
    )
    before = read_study(arguments.out)
    done: dict[str, Result] = {}
    if before is not None:
        check_same(arguments.out, before, study, recipes)
        done = {result.row: result for result in before.results}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if row.name not in done:
            done[row.name] = _run(row, recipes[row.name], bench, arguments.out / row.name)
            study = _with_results(study, all_rows, done)
            _write(arguments.out, study)
    study = _timed(_with_results(study, all_rows, done), recipes)
    _write(arguments.out, study)
    Console().print(terminal_table(study))
    print(f"results in {arguments.out}: results.json, {TABLE_NAME}, {', '.join(plots(study))}")
    return 0


def _run(row: Row, recipe: Recipe, bench: Bench, folder: Path) -> Result:
    spec = recipe.training
    with Display(steps=spec.steps, start=0, batch=spec.batch, name=row.name) as display:
        trained = train_row(recipe, bench, folder, display.show)
    with Bars() as bars:
        return measure_row(row, recipe, bench, folder, trained, bars.show)


def _with_results(study: Study, rows: Mapping[str, Row], done: Mapping[str, Result]) -> Study:
    """The study with all results so far, in the order of its rows."""
    results = tuple(done[name] for name in rows if name in done)
    return study.model_copy(update={"results": results})


def _timed(study: Study, recipes: Mapping[str, Recipe]) -> Study:
    """The study with the time of a network call for every row, all measured now."""
    times = call_ms([recipes[result.row].network for result in study.results])
    results = (
        result.model_copy(update={"call_ms": round(ms, 2)})
        for result, ms in zip(study.results, times, strict=True)
    )
    return study.model_copy(update={"results": tuple(results)})


def _write(folder: Path, study: Study) -> None:
    write_study(folder, study, {TABLE_NAME: markdown(study).encode(), **plots(study)})


if __name__ == "__main__":
    sys.exit(main())
