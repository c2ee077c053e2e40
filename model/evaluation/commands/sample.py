"""dimr-evaluate sample: many images, evenly over classes or captions, in one .npz."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from model.bundle import load_bundle, read_manifest
from model.data.captions import read_captions
from model.evaluation.archive import write_images
from model.evaluation.command import Command, Invocation
from model.evaluation.display import Display
from model.evaluation.errors import PlanRefused
from model.evaluation.outputs import file_path
from model.evaluation.parts import Parts, Shard
from model.evaluation.plan import SamplePlan
from model.files import write_whole
from model.sampling.arguments import (
    ArgumentRefused,
    Parser,
    add_sampling_arguments,
    chosen_sampling,
    integer,
)
from model.sampling.devices import chosen_device
from model.sampling.images import generate, network_rows

MAX_IMAGES = 10_000_000
MAX_BATCH = 4096
MAX_SIZE = 2**16

_DESCRIPTION = """\
Make N images of a bundle, evenly over its classes, as one .npz that ADM's evaluation suite reads:
arr_0 holds the images, uint8 (N, H, W, 3), arr_1 their classes, int64 (N,). Of a prompt model they
show --captions, and arr_1 holds the place of each image's caption, counted from 0.

Image i has seed + i as its seed and shows class i modulo the number of classes. The classes take
turns so that every run of consecutive images is balanced, since the suite takes the Inception Score
over runs of 5000. Where N is no multiple, the last round is spread evenly over the list of classes.
Captions are drawn in an order that --seed decides, each once before any is drawn again, so that
30000 images of as many or more captions are one image a caption, as is usual with MS-COCO.

Finished images wait in FILE.npz.parts until all are there. Kill the command whenever you like: the
same command continues. Arguments are recorded, and others are refused. Several processes share the
work when torchrun starts them, or each with a --shard of its own; the last one to finish puts the
parts together. An image depends on neither batch nor shards, but for rounding."""
_EPILOG = """\
examples:
  dimr-evaluate sample BUNDLE --n 50000 --out samples.npz
  dimr-evaluate sample BUNDLE --n 10000 --out samples.npz --steps 50 --guidance 1.4 --batch 64
  torchrun --nproc-per-node 8 -m model.evaluation sample BUNDLE --images 50000 --out samples.npz
  dimr-evaluate sample BUNDLE --n 50000 --out samples.npz --shard 0/4    # and 1/4, 2/4, 3/4
  dimr-evaluate sample BUNDLE --n 50000 --out samples.npz --merge        # after a crash
  dimr-evaluate sample LAYERED --n 30000 --captions captions.txt --out samples.npz
  dimr-evaluate sample LAYERED --n 30000 --captions coco/val --size 256 --out samples-256.npz"""


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that dimr-train wrote")
    parser.add_argument(
        "--out", type=file_path(".npz"), required=True, metavar="FILE.npz", help="where they go"
    )
    parser.add_argument(
        "--images",
        "--n",
        type=integer(1, MAX_IMAGES),
        default=50_000,
        metavar="N",
        help="images in all (default: 50000); torchrun takes --n for its own",
    )
    parser.add_argument(
        "--captions",
        metavar="WHERE",
        help="what images of a prompt model show: a .txt of one caption a line, a .jsonl, or "
        "captioned images as dimr-train takes them",
    )
    parser.add_argument(
        "--size",
        type=integer(1, MAX_SIZE),
        metavar="N",
        help="side in pixels, one of a layered bundle's scales (default: the largest)",
    )
    add_sampling_arguments(parser)
    parser.add_argument(
        "--batch",
        type=integer(1, MAX_BATCH),
        default=8,
        metavar="N",
        help="images computed together, and lost at most when killed (default: 8)",
    )
    work = parser.add_mutually_exclusive_group()
    work.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="make part I of N, counted from 0 (default: torchrun's, or all)",
    )
    work.add_argument(
        "--merge", action="store_true", help="make nothing, only put the parts together"
    )


def _run(invocation: Invocation) -> None:
    arguments = invocation.arguments
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    manifest = read_manifest(arguments.bundle)
    captions = None if arguments.captions is None else read_captions(arguments.captions)
    plan = SamplePlan.of(
        manifest,
        images=arguments.images,
        seed=arguments.seed,
        sampling=chosen_sampling(arguments, manifest.sampling),
        captions=captions,
        size=arguments.size,
    )
    out: Path = arguments.out
    if _complete(out, plan):
        invocation.say(f"{plan.images} images are in {out} already")
        return
    folder = out.with_name(f"{out.name}.parts")
    if arguments.merge and not folder.is_dir():
        msg = f"argument --merge: there is no {folder}; allowed: once images have been made"
        raise ArgumentRefused(msg)
    parts = Parts.open(folder, plan)
    if not arguments.merge:
        _draw(parts, arguments.shard or _torchrun_shard(os.environ), captions, arguments)
    elif parts.missing(range(plan.images)):
        msg = f"argument --merge: {_lacking(parts)}; allowed: once all are there"
        raise ArgumentRefused(msg)
    try:
        invocation.say(_assemble(parts, out))
    except FileNotFoundError:
        if not _complete(out, plan):
            raise
        invocation.say(f"{plan.images} images are in {out}")


def _draw(
    parts: Parts, shard: Shard, captions: Sequence[str] | None, arguments: argparse.Namespace
) -> None:
    """Make what is missing of a share, and keep it batch by batch."""
    share = shard.of(parts.plan.images)
    runs = parts.missing(share)
    if not runs:
        return
    bundle = load_bundle(arguments.bundle)
    bundle.to(chosen_device(arguments.device))
    rows_each = network_rows(bundle, [parts.plan.request(share.start, captions)])
    done = float(len(share) - sum(map(len, runs)))
    with Display() as display:
        display.show("images", done, len(share))

        def called(rows: int) -> None:
            nonlocal done
            done += rows / rows_each
            display.show("images", round(done, 3), len(share))

        for run in runs:
            requests = [parts.plan.request(index, captions) for index in run]
            made = generate(bundle, requests, batch=arguments.batch, on_call=called)
            for first in range(run.start, run.stop, arguments.batch):
                count = min(arguments.batch, run.stop - first)
                parts.add(first, [next(made) for _ in range(count)])


def _assemble(parts: Parts, out: Path) -> str:
    """Put the parts together if all are there; returns what came of it."""
    plan = parts.plan
    with parts.alone():
        if parts.missing(range(plan.images)):
            return f"{_lacking(parts)}; whoever makes the last one writes {out}"
        labels = np.array([plan.label(index) for index in range(plan.images)], np.int64)
        size = next(parts.batches()).shape[1:]
        write_whole(_record(out), (plan.model_dump_json(indent=1) + "\n").encode())
        write_images(out, parts.batches(), shape=(plan.images, *size), labels=labels)
        parts.remove()
    what = "classes" if plan.captions_sha256 is None else "captions"
    return f"{plan.images} images of {plan.classes} {what} in {out}"


def _lacking(parts: Parts) -> str:
    missing = parts.missing(range(parts.plan.images))
    count = sum(map(len, missing))
    return f"{count} of {parts.plan.images} images are missing, the first is {missing[0].start}"


def _complete(out: Path, plan: SamplePlan) -> bool:
    """Whether the images of this plan are there; refuses a file that is something else."""
    if not out.exists():
        return False
    record = _record(out)
    if not record.exists():
        msg = f"argument --out: {out} exists already; allowed: another name"
        raise PlanRefused(msg)
    plan.check_same(record)
    return True


def _record(out: Path) -> Path:
    return out.with_suffix(".plan.json")


def _shard(text: str) -> Shard:
    """An argument type: I/N."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or int(found[1]) >= int(found[2]):
        msg = f"got {text!r}; allowed: I/N with I from 0 to N - 1"
        raise argparse.ArgumentTypeError(msg)
    return Shard(int(found[1]), int(found[2]))


def _torchrun_shard(environment: Mapping[str, str]) -> Shard:
    """The share that torchrun gives this process; all where it was not started by torchrun."""
    rank, count = environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")
    try:
        return _shard(f"{rank}/{count}")
    except argparse.ArgumentTypeError as error:
        msg = f"RANK / WORLD_SIZE: {error}"
        raise ArgumentRefused(msg) from error


COMMAND = Command(
    name="sample",
    summary="many images, evenly over classes or captions, as the .npz that ADM's suite reads",
    description=_DESCRIPTION,
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    run=_run,
    interrupted="the same command continues where it was",
)
