"""dimr-evaluate compare: FID and its relatives of samples against a reference."""

import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.table import Table

from model.evaluation.archive import array_names
from model.evaluation.command import Command, Invocation
from model.evaluation.comparison import ComparisonReport, FileFacts, compare, rows
from model.evaluation.display import Display
from model.evaluation.features import FeatureCache
from model.evaluation.inception import load_inception
from model.evaluation.outputs import (
    add_overwrite,
    file_path,
    folder_path,
    refuse_existing,
    write_report,
)
from model.evaluation.reference import read_reference
from model.files import file_sha256
from model.sampling.arguments import MAX_THREADS, Parser, integer
from model.sampling.devices import add_device, chosen_device

MAX_BATCH = 4096

_DESCRIPTION = """\
Compare samples with a reference by the features of the Inception network: FID, sFID, Inception
Score, precision and recall, defined as in ADM's evaluation suite.

SAMPLES is an .npz of images (arr_0, uint8 (N, H, W, 3)), as `dimr-evaluate sample` writes it.
The reference is one of
  - an .npz of real images, in the same form;
  - a reference batch of ADM's suite (mu, sigma, mu_s, sigma_s; arr_0 for precision and recall);
  - features that --cache has kept.

WEIGHTS are the FID Inception weights for PyTorch, which you supply: the file
weights-inception-2015-12-05-6726825d.pth of torch-fidelity, or pytorch-fid's of the same hash. The
network is torch-fidelity's; install it with: pip install 'dimr-serve[evaluate]'

All these figures depend on the number of samples: compare equal numbers only (papers use 50000)."""
_EPILOG = """\
examples:
  dimr-evaluate compare samples.npz --reference VIRTUAL_imagenet256_labeled.npz \\
      --inception weights-inception-2015-12-05-6726825d.pth --out report.json
  dimr-evaluate compare samples.npz --reference real.npz --inception weights.pth \\
      --cache features --out report.json    # the second time reads the features of real.npz"""


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("samples", type=Path, metavar="SAMPLES", help=".npz of images")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="FILE.npz", help="what to compare with"
    )
    parser.add_argument(
        "--inception", type=Path, required=True, metavar="WEIGHTS", help="weights of the network"
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
        "--cache", type=folder_path, metavar="DIR", help="keep features there, and use those there"
    )
    parser.add_argument(
        "--batch",
        type=integer(1, MAX_BATCH),
        default=64,
        metavar="N",
        help="images given to the network at once (default: 64)",
    )
    add_device(parser)
    parser.add_argument(
        "--threads", type=integer(1, MAX_THREADS), metavar="N", help="CPU threads (default: all)"
    )


def _run(invocation: Invocation) -> None:
    began = time.monotonic()
    arguments = invocation.arguments
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    refuse_existing([arguments.out], overwrite=arguments.overwrite)
    for path in (arguments.samples, arguments.reference):
        array_names(path)  # refused now rather than after the work on the other
    device = chosen_device(arguments.device)
    inception = load_inception(arguments.inception, device)
    weights = file_sha256(arguments.inception)
    with Display() as display:
        cache = FeatureCache(
            inception, weights, folder=arguments.cache, batch=arguments.batch, show=display.show
        )
        samples_sha256 = file_sha256(arguments.samples)
        samples = cache.features(arguments.samples, samples_sha256, part="samples")
        reference = read_reference(arguments.reference, cache)
    scores = compare(samples, reference)
    report = ComparisonReport(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=invocation.line,
        seconds=round(time.monotonic() - began, 1),
        torch=torch.__version__,
        device=str(device),
        samples=FileFacts(
            path=str(arguments.samples), sha256=samples_sha256, images=len(samples.pool)
        ),
        reference=FileFacts(
            path=str(arguments.reference),
            sha256=file_sha256(arguments.reference),
            images=None if reference.features is None else len(reference.features),
        ),
        inception_sha256=weights,
        scores=scores,
    )
    write_report(arguments.out, report)
    table = Table("measure", "value", "better", title=f"{len(samples.pool)} samples")
    for row in rows(report.scores):
        table.add_row(*row)
    invocation.console.print(table)
    invocation.say(f"report in {arguments.out}")


COMMAND = Command(
    name="compare",
    summary="FID, sFID, Inception Score, precision and recall against a reference",
    description=_DESCRIPTION,
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    run=_run,
    interrupted="no report was written; features that --cache has kept are used again",
)
