"""dimr-evaluate adaln: principal components of AdaLN-Zero's scales and shifts."""

from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.table import Table

from model.bundle import DENOISER, Bundle, load_bundle
from model.evaluation.command import Command, Invocation
from model.evaluation.display import Display
from model.evaluation.modulation import (
    ModulationReport,
    Summary,
    cumulative,
    explained,
    summary,
    trajectories,
)
from model.evaluation.outputs import add_overwrite, folder_path, refuse_existing, write_report
from model.evaluation.plots import check_plotting, explained_variance
from model.evaluation.report import percent
from model.files import write_whole
from model.sampling.arguments import MAX_THREADS, ArgumentRefused, Parser, integer
from model.sampling.classes import ClassUnknown, find_class
from model.specs.layered import LayeredSpec

REPORT_NAME, PLOT_NAME = "adaln.json", "explained-variance.png"

_DESCRIPTION = """\
Take the principal components, over diffusion time, of every scale and shift that AdaLN-Zero gives
the blocks of a network: the paper's figure 3, which shows that a few suffice (arXiv:2406.09416).

Only networks with AdaLN-Zero can be looked at: a DiT, or a U-ViT or DiMR with time = "adaln-zero".
Writes DIR/adaln.json and DIR/explained-variance.png, and prints a table."""
_EPILOG = """\
examples:
  dimr-evaluate adaln BUNDLE --out figure-3
  dimr-evaluate adaln BUNDLE --out figure-3 --times 1000 --class "red apple" """


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that dimr-train wrote")
    parser.add_argument(
        "--out", type=folder_path, required=True, metavar="DIR", help="folder of the results"
    )
    add_overwrite(parser)
    parser.add_argument(
        "--times",
        type=integer(3, 10_000),
        default=100,
        metavar="N",
        help="diffusion times, evenly over those trained on (default: 100)",
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="the class, where AdaLN-Zero is told of it, as in a DiT (default: none)",
    )
    parser.add_argument(
        "--threads", type=integer(1, MAX_THREADS), metavar="N", help="CPU threads (default: all)"
    )


def _run(invocation: Invocation) -> None:
    arguments = invocation.arguments
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    report_path, plot_path = arguments.out / REPORT_NAME, arguments.out / PLOT_NAME
    refuse_existing([report_path, plot_path], overwrite=arguments.overwrite)
    check_plotting()
    bundle = load_bundle(arguments.bundle)
    label = _label(bundle, arguments.class_name)
    with Display() as display:
        paths = trajectories(bundle, times=arguments.times, label=label, show=display.show)
    parameters = tuple(map(explained, paths))
    manifest = bundle.manifest
    report = ModulationReport(
        bundle_id=manifest.id,
        denoiser_sha256=manifest.files[DENOISER].sha256,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=invocation.line,
        times=arguments.times,
        t_min=manifest.process.t_min,
        t_max=manifest.process.t_max,
        label=label,
        summary=summary(parameters),
        parameters=parameters,
    )
    plot = explained_variance(cumulative(parameters), f"AdaLN-Zero of {manifest.id}")
    write_report(report_path, report)
    write_whole(plot_path, plot)
    invocation.console.print(_table(report.summary))
    invocation.say(f"report and plot in {arguments.out}")


def _label(bundle: Bundle, name: str | None) -> int:
    """Index of a class, that of the null class for None; refuses a prompt model."""
    network = bundle.manifest.network
    if isinstance(network, LayeredSpec):
        msg = (
            f"argument BUNDLE: got {bundle.manifest.id}, a network of kind {network.kind!r}; "
            f"allowed: one with AdaLN-Zero, which no network of that kind has"
        )
        raise ArgumentRefused(msg)
    if name is None:
        return network.classes
    try:
        return find_class(bundle.labels, name)
    except ClassUnknown as error:
        msg = f"argument --class: {error}"
        raise ArgumentRefused(msg) from error


def _table(found: Summary) -> Table:
    table = Table(
        "components", "explained, mean", "least", title=f"{found.parameters} scales and shifts"
    )
    shares = zip(found.mean_cumulative, found.least_cumulative, strict=True)
    for count, (mean, least) in enumerate(shares, 1):
        table.add_row(str(count), percent(mean), percent(least))
    return table


COMMAND = Command(
    name="adaln",
    summary="principal components of AdaLN-Zero's scales and shifts over time",
    description=_DESCRIPTION,
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    run=_run,
    interrupted="nothing was written",
)
