"""dimr-sample: make images with a bundle, without any server."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from model.bundle import Bundle, BundleRefused, load_bundle
from model.diffusion.errors import ParameterRejected
from model.files import write_whole
from model.sampling.arguments import (
    ArgumentRefused,
    Parser,
    add_sampling_arguments,
    chosen_sampling,
    integer,
    png_path,
)
from model.sampling.classes import ClassUnknown, file_stems, find_class
from model.sampling.devices import chosen_device
from model.sampling.images import ImageRequest, generate, network_rows
from model.sampling.noise import MAX_SEED
from model.sampling.pictures import ORIGIN, encode_png, grid_columns, join_grid

BATCH = 8  # larger ones cost as much an image on a CPU
MAX_IMAGES = 10_000  # of one class

_DESCRIPTION = """\
Make images with a trained bundle, on the CPU and without any server.

Every image becomes DIR/<class>-<seed>.png and carries its own recipe as PNG text, so that it can
be made again: an image depends on the bundle, class, seed, steps, guidance and sampler alone."""
_EPILOG = """\
examples:
  dimr-sample BUNDLE --list
  dimr-sample BUNDLE --class "tiger face" --n 4 --out images
  dimr-sample BUNDLE --class fox --class owl --n 8 --seed 100 --out images --grid images/grid.png
  dimr-sample BUNDLE --all-classes --steps 30 --guidance 2 --out all --grid all.png --scale 4

More steps make cleaner images at proportional cost; 15 to 30 are enough for dpmpp_2m. Guidance
above 1 makes the class more pronounced and images of it more alike. Files that exist are never
replaced without --overwrite, and each file appears complete or not at all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 2 when something is wrong or 130 when it was interrupted."""
    try:
        return _run(_parser().parse_args(argv))
    except (ArgumentRefused, BundleRefused, ParameterRejected, OSError) as error:
        print(f"dimr-sample: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dimr-sample: interrupted; the images written so far are complete", file=sys.stderr)
        return 130


def _parser() -> Parser:
    parser = Parser(
        prog="dimr-sample",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that dimr-train wrote")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="print the bundle's classes and stop")
    what.add_argument("--all-classes", action="store_true", help="make images of every class")
    what.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="NAME",
        help="what to make images of; may be repeated",
    )
    parser.add_argument(
        "--n",
        type=integer(1, MAX_IMAGES),
        default=1,
        metavar="N",
        help="images per class (default: 1)",
    )
    add_sampling_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the images; made where it is missing"
    )
    parser.add_argument(
        "--grid", type=png_path, metavar="FILE.png", help="also one picture of all images"
    )
    parser.add_argument(
        "--columns",
        type=integer(1, MAX_IMAGES),
        metavar="N",
        help="columns of the grid (default: near a square, no class split over rows)",
    )
    parser.add_argument(
        "--scale",
        type=integer(1, 64),
        default=1,
        metavar="K",
        help="make each pixel of the grid K pixels a side (default: 1)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle)
    if arguments.list:
        for label in bundle.labels:
            print(", ".join((label.name, *label.aliases)))
        return 0
    bundle.to(chosen_device(arguments.device))
    requests = _requests(bundle, arguments)
    rows = network_rows(bundle, requests)
    paths = _paths(bundle, requests, arguments)

    for folder in {path.parent for path in (*paths, arguments.grid) if path is not None}:
        folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    images = []
    with _Display(len(requests), rows) as display:
        made = generate(bundle, requests, batch=BATCH, on_call=display.called)
        for request, path, image in zip(requests, paths, made, strict=True):
            parameters = _parameters(bundle, request)
            content = encode_png(image, description=_described(parameters), parameters=parameters)
            write_whole(path, content)
            images.append(image)
            display.finished()
    seconds = time.monotonic() - began
    print(f"{_counted(len(images))} in {arguments.out} ({seconds:.1f} s)")

    if arguments.grid is not None:
        columns = arguments.columns or grid_columns(len(images) // arguments.n, arguments.n)
        grid = join_grid(images, columns=columns, scale=arguments.scale)
        parameters = {"images": [_parameters(bundle, request) for request in requests]}
        description = f"{ORIGIN}: {_counted(len(images))}; model {bundle.manifest.id}"
        content = encode_png(grid, description=description, parameters=parameters)
        write_whole(arguments.grid, content)
        print(f"grid in {arguments.grid}")
    return 0


def _requests(bundle: Bundle, arguments: argparse.Namespace) -> list[ImageRequest]:
    """One request for each image, class by class."""
    if arguments.seed + arguments.n - 1 > MAX_SEED:
        allowed = f"0 to {MAX_SEED - arguments.n + 1} with --n {arguments.n}"
        msg = f"argument --seed: got {arguments.seed}; allowed: {allowed}"
        raise ArgumentRefused(msg)
    sampling = chosen_sampling(arguments, bundle.manifest.sampling)
    return [
        ImageRequest(
            label=label,
            seed=arguments.seed + k,
            steps=sampling.steps,
            sampler=sampling.sampler,
            guidance=sampling.guidance,
        )
        for label in _chosen_labels(bundle, arguments)
        for k in range(arguments.n)
    ]


def _chosen_labels(bundle: Bundle, arguments: argparse.Namespace) -> Sequence[int]:
    if arguments.all_classes:
        return range(len(bundle.labels))
    chosen: list[int] = []
    for name in arguments.classes:
        try:
            label = find_class(bundle.labels, name)
        except ClassUnknown as error:
            msg = f"argument --class: {error}"
            raise ArgumentRefused(msg) from error
        if label in chosen:
            msg = f"argument --class: got {name!r} twice; allowed: each class once (see --n)"
            raise ArgumentRefused(msg)
        chosen.append(label)
    return chosen


def _paths(
    bundle: Bundle, requests: Sequence[ImageRequest], arguments: argparse.Namespace
) -> list[Path]:
    """Where each image goes; refuses files that exist before anything is computed."""
    if arguments.out is None:
        msg = "argument --out: missing; allowed: a folder for the images"
        raise ArgumentRefused(msg)
    if arguments.out.exists() and not arguments.out.is_dir():
        msg = f"argument --out: got {str(arguments.out)!r}, a file; allowed: a folder"
        raise ArgumentRefused(msg)
    stems = file_stems(bundle.labels)
    paths = [arguments.out / f"{stems[r.label]}-{r.seed}.png" for r in requests]
    grids = [] if arguments.grid is None else [arguments.grid]
    existing = [path for path in (*paths, *grids) if path.exists()]
    if existing and not arguments.overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        msg = f"{existing[0]}{more} exist already; allowed: another --out or --grid, or --overwrite"
        raise ArgumentRefused(msg)
    return paths


def _parameters(bundle: Bundle, request: ImageRequest) -> dict[str, object]:
    """All that it takes to make an image again; the same fields as served images carry."""
    return {
        "model": bundle.manifest.id,
        "class_name": bundle.labels[request.label].name,
        "label": request.label,
        "seed": request.seed,
        "steps": request.steps,
        "sampler": request.sampler,
        "guidance": request.guidance,
        "origin": ORIGIN,
    }


def _described(parameters: dict[str, object]) -> str:
    """One line for people."""
    return (
        "{origin}: {class_name}; model {model}, seed {seed}, {steps} steps, {sampler}, "
        "guidance {guidance:g}"
    ).format_map(parameters)


def _counted(images: int) -> str:
    return f"{images} image{'s' if images != 1 else ''}"


class _Display:
    """A live bar on stderr: images done, network calls a second, time left."""

    def __init__(self, images: int, rows: int) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("sampling"),
            BarColumn(),
            TextColumn("{task.fields[done]}/{task.fields[images]} images"),
            TextColumn("{task.fields[pace]:.0f} calls/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=rows, done=0, images=images, pace=0.0)
        self._rows = self._done = 0
        self._began = time.monotonic()

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def called(self, rows: int) -> None:
        """Count the network rows of one call."""
        self._rows += rows
        pace = self._rows / (time.monotonic() - self._began)
        self._bar.update(self._task, completed=self._rows, pace=pace)

    def finished(self) -> None:
        """Count one image."""
        self._done += 1
        self._bar.update(self._task, done=self._done)


if __name__ == "__main__":
    sys.exit(main())
