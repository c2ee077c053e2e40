"""dimr-sample: make images with a bundle, without any server."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from model.bundle import Bundle, BundleRefused, load_bundle
from model.diffusion.build import build_pyramid
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
from model.sampling.consistency import ConsistencyMonitor
from model.sampling.devices import chosen_device
from model.sampling.display import Display
from model.sampling.images import ImageRequest, generate, network_rows
from model.sampling.noise import MAX_SEED
from model.sampling.pictures import ORIGIN, encode_png, grid_columns, join_grid
from model.sampling.subjects import Subject, add_subject_arguments, chosen_subjects, listed_classes

BATCH = 8  # larger ones cost as much an image on a CPU
MAX_IMAGES = 10_000  # of one class or prompt
MAX_SIZE = 2**16

_DESCRIPTION = """\
Make images with a trained bundle, on the CPU and without any server.

Every image becomes DIR/<class or prompt>-<seed>.png and carries its own recipe as PNG text, so that
it can be made again: an image depends on the bundle, class or prompt, seed, steps, guidance,
sampler and size alone."""
_EPILOG = """\
examples:
  dimr-sample BUNDLE --list
  dimr-sample BUNDLE --class "tiger face" --n 4 --out images
  dimr-sample BUNDLE --class fox --class owl --n 8 --seed 100 --out images --grid images/grid.png
  dimr-sample BUNDLE --all-classes --steps 30 --guidance 2 --out all --grid all.png --scale 4
  dimr-sample LAYERED --prompt "red apple" --prompt "a sad cat" --n 4 --out images
  dimr-sample LAYERED --prompt "red apple" --size 16 --out previews

More steps make cleaner images at proportional cost; 15 to 30 are enough for dpmpp_2m. Guidance
above 1 makes the class or prompt more pronounced and its images more alike. Files that exist are
never replaced without --overwrite, and each file appears complete or not at all."""


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
    add_subject_arguments(parser)
    parser.add_argument(
        "--n",
        type=integer(1, MAX_IMAGES),
        default=1,
        metavar="N",
        help="images per class or prompt (default: 1)",
    )
    parser.add_argument(
        "--size",
        type=integer(1, MAX_SIZE),
        metavar="N",
        help="side in pixels, of those the bundle makes; a lower scale of a layered model costs "
        "that scale alone (default: the largest)",
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
        help="columns of the grid (default: near a square, no class or prompt split over rows)",
    )
    parser.add_argument(
        "--scale",
        type=integer(1, 64),
        default=1,
        metavar="K",
        help="make each pixel of the grid K pixels a side (default: 1)",
    )
    parser.add_argument(
        "--monitor",
        action="store_true",
        help="tell at the end how well the scales of a layered model agreed at each call",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle)
    if arguments.list:
        print("\n".join(listed_classes(bundle)))
        return 0
    bundle.to(chosen_device(arguments.device))
    subjects = chosen_subjects(bundle, arguments)
    requests = _requests(bundle, subjects, arguments)
    rows = network_rows(bundle, requests)
    paths = _paths(requests, subjects, arguments)
    monitor = _monitor(bundle, requests) if arguments.monitor else None
    for notice in _notices(bundle, subjects):
        print(f"dimr-sample: {notice}", file=sys.stderr)

    for folder in {path.parent for path in (*paths, arguments.grid) if path is not None}:
        folder.mkdir(parents=True, exist_ok=True)
    shown = [subject for subject in subjects for _ in range(arguments.n)]
    parameters = [
        _parameters(bundle, request, subject)
        for request, subject in zip(requests, shown, strict=True)
    ]
    began = time.monotonic()
    images = []
    with Display(len(requests), rows) as display:
        made = generate(bundle, requests, batch=BATCH, on_call=display.called, on_step=monitor)
        for facts, subject, path, image in zip(parameters, shown, paths, made, strict=True):
            description = _described(facts, subject)
            write_whole(path, encode_png(image, description=description, parameters=facts))
            images.append(image)
            display.finished()
    seconds = time.monotonic() - began
    print(f"{_counted(len(images))} in {arguments.out} ({seconds:.1f} s)")

    if arguments.grid is not None:
        columns = arguments.columns or grid_columns(len(subjects), arguments.n)
        grid = join_grid(images, columns=columns, scale=arguments.scale)
        description = f"{ORIGIN}: {_counted(len(images))}; model {bundle.manifest.id}"
        content = encode_png(grid, description=description, parameters={"images": parameters})
        write_whole(arguments.grid, content)
        print(f"grid in {arguments.grid}")
    if monitor is not None:
        _print_agreement(monitor, bundle.manifest.sizes)
    return 0


def _requests(
    bundle: Bundle, subjects: Sequence[Subject], arguments: argparse.Namespace
) -> list[ImageRequest]:
    """One request for each image, subject by subject."""
    if arguments.seed + arguments.n - 1 > MAX_SEED:
        allowed = f"0 to {MAX_SEED - arguments.n + 1} with --n {arguments.n}"
        msg = f"argument --seed: got {arguments.seed}; allowed: {allowed}"
        raise ArgumentRefused(msg)
    sizes = bundle.manifest.sizes
    if arguments.size not in {None, *sizes}:
        allowed = " or ".join(map(str, sizes))
        msg = f"argument --size: got {arguments.size}; allowed with this bundle: {allowed}"
        raise ArgumentRefused(msg)
    sampling = chosen_sampling(arguments, bundle.manifest.sampling)
    return [
        ImageRequest(
            condition=subject.condition,
            seed=arguments.seed + k,
            steps=sampling.steps,
            sampler=sampling.sampler,
            guidance=sampling.guidance,
            size=arguments.size or sizes[-1],
        )
        for subject in subjects
        for k in range(arguments.n)
    ]


def _paths(
    requests: Sequence[ImageRequest], subjects: Sequence[Subject], arguments: argparse.Namespace
) -> list[Path]:
    """Where each image goes; refuses files that exist before anything is computed."""
    if arguments.out is None:
        msg = "argument --out: missing; allowed: a folder for the images"
        raise ArgumentRefused(msg)
    if arguments.out.exists() and not arguments.out.is_dir():
        msg = f"argument --out: got {str(arguments.out)!r}, a file; allowed: a folder"
        raise ArgumentRefused(msg)
    stems = [subject.stem for subject in subjects for _ in range(arguments.n)]
    paths = [
        arguments.out / f"{stem}-{request.seed}.png"
        for stem, request in zip(stems, requests, strict=True)
    ]
    grids = [] if arguments.grid is None else [arguments.grid]
    existing = [path for path in (*paths, *grids) if path.exists()]
    if existing and not arguments.overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        msg = f"{existing[0]}{more} exist already; allowed: another --out or --grid, or --overwrite"
        raise ArgumentRefused(msg)
    return paths


def _notices(bundle: Bundle, subjects: Sequence[Subject]) -> list[str]:
    """What to tell about prompts, such as that one is cut off."""
    if bundle.prompts is None:
        return []
    found = [bundle.prompts.notice(str(subject.condition)) for subject in subjects]
    return [notice for notice in found if notice is not None]


def _monitor(bundle: Bundle, requests: Sequence[ImageRequest]) -> ConsistencyMonitor:
    """What watches the scales of these requests; refuses requests of a single one."""
    manifest = bundle.manifest
    if requests[0].size == manifest.sizes[0]:
        msg = "argument --monitor: one scale alone; allowed: a layered bundle above its lowest size"
        raise ArgumentRefused(msg)
    return ConsistencyMonitor(build_pyramid(manifest.process, manifest.network.sides))


def _print_agreement(monitor: ConsistencyMonitor, sizes: Sequence[int]) -> None:
    means = monitor.means.tolist()
    top = sizes[len(means[0])]
    print(f"gap to the reduced prediction at {top} px, relative, mean of all images:")
    print("call" + "".join(f"{f'{size} px':>10}" for size in sizes[: len(means[0])]))
    for call, gaps in enumerate(means, 1):
        print(f"{call:4}" + "".join(f"{gap:10.4f}" for gap in gaps))


def _parameters(bundle: Bundle, request: ImageRequest, subject: Subject) -> dict[str, object]:
    """All that it takes to make an image again; the same fields as served images carry."""
    return {
        "model": bundle.manifest.id,
        **subject.parameters,
        "seed": request.seed,
        "steps": request.steps,
        "sampler": request.sampler,
        "guidance": request.guidance,
        "size": request.size,
        "origin": ORIGIN,
    }


def _described(parameters: dict[str, object], subject: Subject) -> str:
    """One line for people."""
    made = (
        "model {model}, seed {seed}, {steps} steps, {sampler}, guidance {guidance:g}"
    ).format_map(parameters)
    return f"{ORIGIN}: {subject.said}; {made}"


def _counted(images: int) -> str:
    return f"{images} image{'s' if images != 1 else ''}"


if __name__ == "__main__":
    sys.exit(main())
