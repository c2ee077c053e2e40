"""dimr-evaluate small: measure a bundle of the shipped small data against its training images."""

import argparse
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from model.bundle import DENOISER, Bundle, BundleRefused, load_bundle, put_file, read_manifest
from model.evaluation.card import CARD_NAME, NOTICE_NAME, worst_line, write_card
from model.evaluation.classifier import MAX_STEPS, ClassifierSpec
from model.evaluation.command import Command, Invocation
from model.evaluation.display import Display
from model.evaluation.earlier import check_judge, read_before, read_lower
from model.evaluation.evaluation import evaluate, load_training_images
from model.evaluation.outputs import add_overwrite, file_path, refuse_existing, write_report
from model.evaluation.provenance import Provenance
from model.evaluation.report import EvaluationSpec, Report
from model.evaluation.summary import print_summary
from model.sampling.arguments import (
    ArgumentRefused,
    Parser,
    add_sampling_arguments,
    chosen_sampling,
    integer,
)
from model.sampling.devices import chosen_device
from model.sampling.noise import MAX_SEED
from model.sampling.samplers import tables_for

MAX_SAMPLES = 1000  # of one class
MAX_SIZE = 2**16

_DESCRIPTION = """\
Draw samples of every class of a bundle, or of every concept of a prompt model by its name, and
measure them beside its training images:

  - class accuracy under small classifiers trained on the spot, one on all styles and one for each
    style held out, with their accuracy on real images for comparison;
  - distance to the nearest training image, which tells painting from copying;
  - a Fréchet distance of the classifier's own 64 features. It is not FID and compares with nothing
    but the figure for real images beside it;
  - of a prompt model also how samples match captions in other words, that name a style, ask for a
    thing in a colour it never had, or for what it never saw.

Writes a JSON report and prints a summary. Takes a few minutes on one CPU core for 96 classes."""
_EPILOG = """\
examples:
  dimr-evaluate small BUNDLE --data deploy/data/emoji --out report.json
  dimr-evaluate small BUNDLE --data deploy/data/emoji --out report.json --steps 10 --guidance 2
  dimr-evaluate small BUNDLE --data deploy/data/emoji --out report.json --write-card \\
      --training-note "2 hours on 2 cores"
  dimr-evaluate small LAYERED --data deploy/data/emoji --out report-32.json --size 32

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
        "--size",
        type=integer(1, MAX_SIZE),
        metavar="N",
        help="side of the samples, one of a layered bundle's scales; real images are reduced to it "
        "by area averaging (default: the largest)",
    )
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
    parser.add_argument(
        "--lower",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.json",
        help="report of a lower scale of this bundle (see --size), for the card; may be repeated",
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
    before = None if arguments.before is None else read_before(arguments.before, spec)
    lower = [read_lower(path, bundle.manifest, spec) for path in arguments.lower]
    real = load_training_images(provenance.data, arguments.data, size=spec.size)

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
    print_summary(invocation.console, report)
    invocation.say(worst_line(report.measures))
    invocation.say(f"report in {arguments.out}")
    if notice is not None:
        if before is not None:
            check_judge(arguments.before, before, report)
        card = write_card(
            bundle,
            provenance,
            report,
            notice=notice,
            training_note=arguments.training_note,
            before=before,
            lower=lower,
        )
        _store(arguments.bundle, bundle, report, card)
        invocation.say(
            f"summary in {arguments.bundle}/manifest.json, card in {CARD_NAME} beside it"
        )


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse, before minutes of work, what could not be written after them."""
    refuse_existing([arguments.out], overwrite=arguments.overwrite)
    for name in ("training_note", "before", "lower"):
        if getattr(arguments, name) not in (None, []) and not arguments.write_card:
            option = name.replace("_", "-")
            msg = f"argument --{option}: has no card to go to; allowed: together with --write-card"
            raise ArgumentRefused(msg)
    if arguments.write_card and arguments.size is not None:
        msg = (
            f"argument --size: got {arguments.size} with --write-card; "
            f"allowed: without it, as a card is of the largest size (see --lower)"
        )
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
    tables_for(
        manifest.process,
        manifest.network.sides,
        sampling,
    )
    return EvaluationSpec(
        samples_per_class=arguments.samples_per_class,
        seed=arguments.seed,
        sampling=sampling,
        classifier=ClassifierSpec(steps=arguments.classifier_steps),
        size=_size(arguments, manifest.sizes),
    )


def _size(arguments: argparse.Namespace, sizes: Sequence[int]) -> int | None:
    """The size of the samples, None for the largest; refuses one that the bundle does not make."""
    if arguments.size not in {None, *sizes}:
        allowed = " or ".join(map(str, sizes))
        msg = f"argument --size: got {arguments.size}; allowed with this bundle: {allowed}"
        raise ArgumentRefused(msg)
    return None if arguments.size == sizes[-1] else arguments.size


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
    if report.measures.prompts is None:
        del found["measures"]["prompts"]
    found["worst_classes"] = {entry.name: entry.top1 for entry in report.measures.worst}
    put_file(folder, bundle.manifest.model_copy(update={"evaluation": found}), CARD_NAME, card)


COMMAND = Command(
    name="small",
    summary="classifiers, copies and a small-feature Fréchet distance, for the shipped data",
    description=_DESCRIPTION,
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    run=_run,
    interrupted="nothing was written",
)
