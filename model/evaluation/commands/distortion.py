"""dimr-evaluate distortion: how many samples a classifier does not recognise, and which."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch
from rich.table import Table

from model.bundle import read_manifest
from model.evaluation.archive import ImageArchive
from model.evaluation.classifier import (
    MAX_STEPS,
    ClassifierSpec,
    train_classifier,
    weights_sha256,
)
from model.evaluation.command import Command, Invocation
from model.evaluation.display import Display
from model.evaluation.distortion import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DistortionReport,
    LogitsOf,
    by_class,
    chosen_images,
    intended_probabilities,
    low_fidelity,
    scripted_judge,
    small_judge,
)
from model.evaluation.evaluation import load_training_images
from model.evaluation.outputs import add_overwrite, folder_path, refuse_existing, write_report
from model.evaluation.plots import check_plotting, probability_histogram
from model.evaluation.provenance import Provenance
from model.evaluation.report import percent
from model.files import file_sha256, write_whole
from model.sampling.arguments import MAX_THREADS, ArgumentRefused, Parser, integer, number
from model.sampling.devices import add_device, chosen_device
from model.sampling.pictures import ORIGIN, encode_png, grid_columns, join_grid
from model.specs.layered import LayeredSpec

REPORT_NAME, SHEET_NAME, PLOT_NAME = "distortion.json", "low-fidelity.png", "histogram.png"
SHOWN_CLASSES = 10
MAX_BATCH = 4096

_DESCRIPTION = """\
Find the samples of low fidelity: those whose intended class a classifier gives a probability below
a threshold (the distortion study of arXiv:2406.09416). Writes into DIR

  distortion.json   the rate, the rate of each class, and every image below the threshold
  low-fidelity.png  the least probable of them, worst first (where there are any)
  histogram.png     all probabilities

The classifier is either your own as TorchScript, which takes images (B, 3, S, S), normalised by
--mean and --std, and returns logits (B, classes); or, for the shipped small data, one trained on
the spot on the images that a bundle was trained on. A classifier errs too: its rate on real images
is what to compare with."""
_EPILOG = """\
examples:
  dimr-evaluate distortion samples.npz --classifier convnext.pt --resize 224 --threshold 0.1 \\
      --out distortion
  dimr-evaluate distortion samples.npz --bundle BUNDLE --data deploy/data/emoji --threshold 0.1 \\
      --out distortion"""


class _Judge(NamedTuple):
    logits_of: LogitsOf
    description: str
    sha256: str
    names: Sequence[str]


def _add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "samples", type=Path, metavar="SAMPLES", help=".npz of images (arr_0) and classes (arr_1)"
    )
    parser.add_argument(
        "--threshold",
        type=number(0, 1),
        required=True,
        metavar="P",
        help="an image is of low fidelity where its class is less probable than this",
    )
    parser.add_argument(
        "--out", type=folder_path, required=True, metavar="DIR", help="folder of the results"
    )
    add_overwrite(parser)
    parser.add_argument("--classifier", type=Path, metavar="FILE.pt", help="your TorchScript")
    parser.add_argument(
        "--resize", type=integer(1, 4096), metavar="S", help="side it takes (default: as they are)"
    )
    for name, least, values in (("mean", 0.0, IMAGENET_MEAN), ("std", 1e-6, IMAGENET_STD)):
        parser.add_argument(
            f"--{name}",
            type=number(least, 1),
            nargs=3,
            default=values,
            metavar=("R", "G", "B"),
            help=f"of images in [0, 1] (default: ImageNet's, {' '.join(map(str, values))})",
        )
    parser.add_argument("--bundle", type=Path, metavar="BUNDLE", help="of the shipped small data")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of its training data")
    parser.add_argument(
        "--classifier-steps",
        type=integer(1, MAX_STEPS),
        default=ClassifierSpec().steps,
        metavar="N",
        help=f"training steps of the small classifier (default: {ClassifierSpec().steps})",
    )
    parser.add_argument(
        "--sheet",
        type=integer(1, 10_000),
        default=64,
        metavar="N",
        help="the most images to show (default: 64)",
    )
    parser.add_argument(
        "--batch",
        type=integer(1, MAX_BATCH),
        default=64,
        metavar="N",
        help="images judged at once (default: 64)",
    )
    add_device(parser)
    parser.add_argument(
        "--threads", type=integer(1, MAX_THREADS), metavar="N", help="CPU threads (default: all)"
    )


def _run(invocation: Invocation) -> None:
    arguments = invocation.arguments
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    out: Path = arguments.out
    names = (REPORT_NAME, SHEET_NAME, PLOT_NAME)
    refuse_existing([out / name for name in names], overwrite=arguments.overwrite)
    check_plotting()
    archive = ImageArchive.open(arguments.samples)
    labels = archive.labels()
    with Display() as display:
        judge = _judge(arguments, display)
        probabilities = intended_probabilities(
            archive, labels, judge.logits_of, batch=arguments.batch, show=display.show
        )
    worst = low_fidelity(probabilities, labels, arguments.threshold)
    report = DistortionReport(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=invocation.line,
        samples=str(arguments.samples),
        samples_sha256=file_sha256(arguments.samples),
        classifier=judge.description,
        classifier_sha256=judge.sha256,
        threshold=arguments.threshold,
        images=len(archive),
        low_fidelity=len(worst),
        rate=len(worst) / len(archive),
        mean_probability=probabilities.double().mean().item(),
        classes=by_class(probabilities, labels, arguments.threshold, judge.names),
        worst_images=worst,
    )
    plot = probability_histogram(probabilities.numpy(), arguments.threshold)
    sheet = _sheet(archive, report, arguments.sheet) if worst else None
    write_report(out / REPORT_NAME, report)
    write_whole(out / PLOT_NAME, plot)
    (out / SHEET_NAME).unlink(missing_ok=True)
    if sheet is not None:
        write_whole(out / SHEET_NAME, sheet)
    _show(invocation, report)


def _judge(arguments: argparse.Namespace, display: Display) -> _Judge:
    """The classifier asked for; exactly one must be."""
    match (arguments.classifier, arguments.bundle, arguments.data):
        case (Path() as path, None, None):
            return _own_judge(path, arguments)
        case (None, Path() as bundle, Path() as data):
            spec = ClassifierSpec(steps=arguments.classifier_steps)
            return _small_judge(bundle, data, spec, display)
        case _:
            msg = "argument --classifier: allowed: it alone, or --bundle and --data without it"
            raise ArgumentRefused(msg)


def _own_judge(path: Path, arguments: argparse.Namespace) -> _Judge:
    logits_of = scripted_judge(
        path,
        side=arguments.resize,
        mean=arguments.mean,
        std=arguments.std,
        device=chosen_device(arguments.device),
    )
    return _Judge(logits_of, path.name, file_sha256(path), ())


def _small_judge(folder: Path, data: Path, spec: ClassifierSpec, display: Display) -> _Judge:
    manifest = read_manifest(folder)
    if isinstance(manifest.network, LayeredSpec):
        msg = (
            f"argument --bundle: got {folder}, which draws prompts; allowed: a class model, as the "
            f"classes of the images are compared"
        )
        raise ArgumentRefused(msg)
    real = load_training_images(Provenance.of(manifest).data, data)
    classifier = train_classifier(
        real.pictures.images,
        real.pictures.labels,
        classes=len(real.classes),
        spec=spec,
        on_step=lambda step: display.show("classifier", step, spec.steps),
    )
    description = f"small classifier trained on the images of {manifest.id}"
    return _Judge(small_judge(classifier), description, weights_sha256(classifier), real.classes)


def _sheet(archive: ImageArchive, report: DistortionReport, most: int) -> bytes:
    """The least probable images, row by row, as PNG."""
    shown = report.worst_images[:most]
    images = chosen_images(archive, [entry.index for entry in shown])
    grid = join_grid(images, columns=grid_columns(1, len(images)), scale=1)
    parameters = {"images": [entry.model_dump() for entry in shown]}
    return encode_png(grid, description=f"{ORIGIN}: low fidelity", parameters=parameters)


def _show(invocation: Invocation, report: DistortionReport) -> None:
    table = Table(
        *("class", "images", f"below {report.threshold:g}", "rate", "mean probability"),
        title=f"the {SHOWN_CLASSES} worst of {len(report.classes)} classes",
    )
    for entry in report.classes[:SHOWN_CLASSES]:
        table.add_row(
            entry.name,
            str(entry.images),
            str(entry.low_fidelity),
            percent(entry.rate),
            f"{entry.mean_probability:.3f}",
        )
    invocation.console.print(table)
    invocation.say(
        f"low fidelity: {report.low_fidelity} of {report.images} images "
        f"({100 * report.rate:.2f} %); results in {invocation.arguments.out}"
    )


COMMAND = Command(
    name="distortion",
    summary="rate and contact sheet of the images that a classifier does not recognise",
    description=_DESCRIPTION,
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    run=_run,
    interrupted="nothing was written",
)
