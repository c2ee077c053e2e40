"""dimr-evaluate small: measure a bundle of the shipped small data against its training images."""

import argparse
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import ValidationError
from rich.table import Table

from model.bundle import DENOISER, Bundle, BundleRefused, load_bundle, put_file, read_manifest
from model.evaluation.card import CARD_NAME, NOTICE_NAME, worst_line, write_card
from model.evaluation.classifier import MAX_STEPS, ClassifierSpec
from model.evaluation.command import Command, Invocation
from model.evaluation.display import Display
from model.evaluation.evaluation import evaluate, load_training_images
from model.evaluation.outputs import add_overwrite, file_path, refuse_existing, write_report
from model.evaluation.provenance import Provenance
from model.evaluation.report import EvaluationSpec, Report, percent, rows
from model.sampling.arguments import (
    ArgumentRefused,
    Parser,
    add_sampling_arguments,
    chosen_sampling,
    integer,
)
from model.sampling.devices import chosen_device
from model.sampling.noise import MAX_SEED
from model.sampling.samplers import table_for

MAX_SAMPLES = 1000  # of one class

_DESCRIPTION = """\
Draw samples of every class of a bundle and measure them beside its training images:

  - class accuracy under small classifiers trained on the spot, one on all styles and one for each
    style held out, with their accuracy on real images for comparison;
  - distance to the nearest training image, which tells painting from copying;
  - a Fréchet distance of the classifier's own 64 features. It is not FID and compares with nothing
    but the figure for real images beside it.

Writes a JSON report and prints a summary. Takes a few minutes on one CPU core for 96 classes."""
_EPILOG = """\
examples:
  dimr-evaluate small BUNDLE --data deploy/data/emoji --out report.json
  dimr-evaluate small BUNDLE --data deploy/data/emoji --out report.json --steps 10 --guidance 2
  dimr-evaluate small BUNDLE --data deploy/data/emoji --out report.json --write-card \\
      --training-note "2 hours on 2 cores"

Equal arguments give equal figures on one machine with one number of threads."""


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that dimr-train wrote")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of the training data"
    )
    parser.add_argument(
        "--out",
        type=file_path(".json"),
        required=True,
        metavar="FILE.json",
        help="where the report goes",
    )
    add_overwrite(parser)
    parser.add_argument(
        "--samples-per-class",
        type=integer(1, MAX_SAMPLES),
        default=8,
        metavar="N",
        help="samples of each class (default: 8)",
    )
    add_sampling_arguments(parser)
    parser.add_argument(
        "--classifier-steps",
        type=integer(1, MAX_STEPS),
        default=ClassifierSpec().steps,
        metavar="N",
        help=f"training steps of each classifier (default: {ClassifierSpec().steps})",
    )
    parser.add_argument(
        "--write-card",
        action="store_true",
        help=f"put the summary into the bundle's manifest and {CARD_NAME} beside it",
    )
    parser.add_argument(
        "--training-note",
        metavar="TEXT",
        help="how long training took on what machine, for the card",
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="FILE.json",
        help="an earlier model's report by the same judge, to compare with on the card",
    )


def _run(invocation: Invocation) -> None:
    began = time.monotonic()
    arguments = invocation.arguments
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle)
    bundle.to(chosen_device(arguments.device))
    provenance = Provenance.of(bundle.manifest)
    _check_outputs(arguments)
    spec = _spec(bundle, arguments)
    notice = _notice(arguments)
    before = _before(arguments, spec)
    real = load_training_images(provenance.data, arguments.data)

    with Display() as display:
        measures = evaluate(bundle, real, spec, display.show)
    report = Report(
        bundle_id=bundle.manifest.id,
        denoiser_sha256=bundle.manifest.files[DENOISER].sha256,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=invocation.line,
        seconds=round(time.monotonic() - began, 1),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        evaluation=spec,
        measures=measures,
    )
    write_report(arguments.out, report)
    _show(invocation, report)
    if notice is not None:
        _check_judge(arguments.before, before, report)
        card = write_card(
            bundle,
            provenance,
            report,
            notice=notice,
            training_note=arguments.training_note,
            before=before,
        )
        _store(arguments.bundle, bundle, report, card)
        invocation.say(
            f"summary in {arguments.bundle}/manifest.json, card in {CARD_NAME} beside it"
        )


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse, before minutes of work, what could not be written after them."""
    refuse_existing([arguments.out], overwrite=arguments.overwrite)
    for name in ("training_note", "before"):
        if getattr(arguments, name) is not None and not arguments.write_card:
            option = name.replace("_", "-")
            msg = f"argument --{option}: has no card to go to; allowed: together with --write-card"
            raise ArgumentRefused(msg)
    if arguments.write_card and not os.access(arguments.bundle, os.W_OK):
        msg = f"argument --write-card: {arguments.bundle} cannot be written to"
        raise ArgumentRefused(msg)


def _spec(bundle: Bundle, arguments: argparse.Namespace) -> EvaluationSpec:
    """What to measure with; refuses a number of steps that the sampler cannot take."""
    most = MAX_SEED - arguments.samples_per_class + 1
    if arguments.seed > most:
        msg = f"argument --seed: got {arguments.seed}; allowed: 0 to {most}"
        raise ArgumentRefused(msg)
    manifest = bundle.manifest
    sampling = chosen_sampling(arguments, manifest.sampling)
    table_for(
        manifest.process,
        sampling,
        sampler=sampling.sampler,
        steps=sampling.steps,
        guidance=sampling.guidance,
    )
    return EvaluationSpec(
        samples_per_class=arguments.samples_per_class,
        seed=arguments.seed,
        sampling=sampling,
        classifier=ClassifierSpec(steps=arguments.classifier_steps),
    )


def _before(arguments: argparse.Namespace, spec: EvaluationSpec) -> Report | None:
    """The report to compare with; refuses one of other samples."""
    if arguments.before is None:
        return None
    try:
        before = Report.model_validate_json(arguments.before.read_bytes())
    except ValidationError as error:
        msg = f"argument --before: {arguments.before} is no report of this command"
        raise ArgumentRefused(msg) from error
    if before.evaluation != spec:
        msg = (
            f"argument --before: {arguments.before} is of {before.evaluation}; "
            f"allowed: one of {spec}"
        )
        raise ArgumentRefused(msg)
    return before


def _check_judge(path: Path | None, before: Report | None, report: Report) -> None:
    if before is not None and before.measures.judge_sha256 != report.measures.judge_sha256:
        msg = (
            f"argument --before: {path} is by another judge, as it was made on another machine or "
            f"with other threads; allowed: one made again here (the report itself was written)"
        )
        raise ArgumentRefused(msg)


def _notice(arguments: argparse.Namespace) -> str | None:
    """Notices of the training data, which a card must carry; None where none is written."""
    if not arguments.write_card:
        return None
    path = arguments.data / NOTICE_NAME
    if not path.is_file():
        msg = f"argument --data: {path} is missing; allowed with --write-card: data with notices"
        raise ArgumentRefused(msg)
    return str(path.read_text(encoding="utf-8"))


def _store(folder: Path, bundle: Bundle, report: Report, card: str) -> None:
    """Put summary and card into the bundle, unless it is another one by now."""
    if read_manifest(folder) != bundle.manifest:
        msg = f"{folder} has changed since it was measured; evaluate it again"
        raise BundleRefused(msg)
    found = report.model_dump(mode="json", exclude={"measures": {"classes"}})
    found["worst_classes"] = {entry.name: entry.top1 for entry in report.measures.worst}
    put_file(folder, bundle.manifest.model_copy(update={"evaluation": found}), CARD_NAME, card)


def _show(invocation: Invocation, report: Report) -> None:
    measures = report.measures
    table = Table("measure", "samples", "real images", "ratio", title=report.bundle_id)
    for row in rows(measures):
        table.add_row(*row)
    folds = Table("style held out", "samples, top 1", "real images of it, top 1")
    for fold in measures.folds:
        folds.add_row(fold.held_out, percent(fold.samples.top1), percent(fold.real.top1))
    invocation.console.print(table, folds)
    invocation.say(worst_line(measures))
    invocation.say(f"report in {invocation.arguments.out}")


COMMAND = Command(
    name="small",
    summary="classifiers, copies and a small-feature Fréchet distance, for the shipped data",
    description=_DESCRIPTION,
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    run=_run,
    interrupted="nothing was written",
)
