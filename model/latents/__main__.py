"""`python -m model.latents`: compute an autoencoder's moments once, for training on latents."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial

import torch

from model.autoencoder import AutoencoderRefused, load_autoencoder
from model.data.errors import DataError, LocationRefused
from model.data.imagenet.classes import imagenet_classes
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes, read_class_index
from model.data.images.hub import HubStream
from model.data.images.locations import open_records
from model.data.images.progress import image_bar
from model.data.images.streams import ShardStream
from model.latents.arguments import PROGRAM, build_parser, chosen_share
from model.latents.encoding import Encoder, weights_sha256
from model.latents.features import Features
from model.latents.index import (
    INDEX_NAME,
    Autoencoder,
    ClassName,
    Index,
    LeftOut,
    OfficialFeatures,
    Plan,
    damage,
    read_spec,
)
from model.latents.writing import Make, write_share
from model.sampling.arguments import ArgumentRefused
from model.specs.process import LatentsSpec


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, 1 when `check` found damage, 2 when something is wrong, 130 when it was interrupted.
    """
    try:
        arguments = build_parser().parse_args(argv)
        match arguments.command:
            case "encode":
                return _encode(arguments)
            case "import-features":
                return _import(arguments)
            case _:
                return _check(arguments)
    except (ArgumentRefused, AutoencoderRefused, DataError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; run it again to continue", file=sys.stderr)
        return 130


def _encode(arguments: argparse.Namespace) -> int:
    share = chosen_share(arguments.shard, os.environ)
    device = _device(arguments.device)
    spec = LatentsSpec(channels=arguments.channels, factor=arguments.factor)
    if arguments.size % spec.factor:
        msg = f"argument --size: got {arguments.size}; allowed: multiples of {spec.factor}"
        raise ArgumentRefused(msg)
    bad = BadExamples(arguments.on_bad)
    records = open_records(arguments.location, bad, class_index=arguments.class_index)
    if isinstance(records, ShardStream | HubStream):
        reason = "it is read as a stream; latents need images by index, so download it first"
        raise LocationRefused(arguments.location, reason)
    codec = load_autoencoder(arguments.autoencoder, spec)
    sha256 = weights_sha256(codec)
    encoder = Encoder(
        records=records,
        codec=codec.to(device),
        device=device,
        size=arguments.size,
        batch=arguments.batch,
        threads=arguments.threads,
        on_bad=arguments.on_bad,
    )
    plan = Plan(
        location=arguments.location,
        size=arguments.size,
        origin=Autoencoder(source=arguments.autoencoder, sha256=sha256, spec=spec),
        classes=_named(records.classes),
        shape=encoder.shape,
        dtype=arguments.dtype,
        examples=len(records),
        shard_size=arguments.shard_size,
        bad=tuple(LeftOut(where=w, reason=r) for w, r in bad.reasons.items()),
    )
    return _write(arguments, plan, encoder, share)


def _import(arguments: argparse.Namespace) -> int:
    share = chosen_share(arguments.shard, os.environ)
    index = arguments.class_index
    features = Features(
        arguments.folder,
        imagenet_classes() if index is None else read_class_index(index),
        batch=arguments.batch,
        threads=arguments.threads,
    )
    plan = Plan(
        location=str(arguments.folder),
        size=None,
        origin=OfficialFeatures(batch=arguments.batch),
        classes=_named(features.classes),
        shape=features.shape,
        dtype=arguments.dtype,
        examples=len(features),
        shard_size=arguments.shard_size,
    )
    return _write(arguments, plan, partial(features.pairs, on_bad=arguments.on_bad), share)


def _check(arguments: argparse.Namespace) -> int:
    index = read_spec(arguments.folder / INDEX_NAME, Index)
    damaged = 0
    with image_bar("checking", index.count) as done:
        for shard in index.shards:
            if wrong := damage(arguments.folder, shard):
                print(f"{arguments.folder / shard.file}: {wrong}")
                damaged += 1
            done(shard.count)
    print(_summary(index) + (f"; {damaged} shards damaged" if damaged else "; all as written"))
    return 1 if damaged else 0


def _write(arguments: argparse.Namespace, plan: Plan, make: Make, share: tuple[int, int]) -> int:
    mine = sum(len(plan.span(number)) for number in range(share[0], plan.shards, share[1]))
    with image_bar("encoding", mine) as done:
        index = write_share(arguments.out, plan, make, share=share[0], shares=share[1], done=done)
    if index is None:
        print(f"share {share[0]}/{share[1]} is complete; other shares are not yet")
        return 0
    print(f"{arguments.out}: {_summary(index)}")
    for entry in index.left_out:
        print(f"left out: {entry.where}: {entry.reason}")
    return 0


def _summary(index: Index) -> str:
    channels, height, width = index.plan.shape
    return (
        f"{index.count} images in {len(index.plan.classes)} classes, moments {channels}x{height}x"
        f"{width} {index.plan.dtype}, {len(index.shards)} shards, {len(index.left_out)} left out"
    )


def _named(classes: Classes) -> tuple[ClassName, ...]:
    return tuple(
        ClassName(name=name, aliases=classes.aliases.get(name, ())) for name in classes.names
    )


def _device(name: str) -> torch.device:
    """The CPU, or this process's GPU."""
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        msg = "argument --device: got 'cuda'; allowed: 'cpu', there is no CUDA device here"
        raise ArgumentRefused(msg)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


if __name__ == "__main__":
    sys.exit(main())
