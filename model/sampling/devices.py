"""Where a network runs."""

import argparse
import os

import torch


def device(text: str) -> torch.device:
    """An argument type: a device of PyTorch that is there."""
    present = _present()
    if text not in (*present, "cuda" if len(present) > 1 else "cpu"):
        msg = f"got {text!r}; allowed: {', '.join(present)}"
        raise argparse.ArgumentTypeError(msg)
    return torch.device(text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        type=device,
        metavar="NAME",
        help="where the network runs, e.g. cuda:0 (default: a GPU where there is one)",
    )


def chosen_device(asked: torch.device | None) -> torch.device:
    """The device asked for, or the best there is; of GPUs without a number torchrun's own."""
    best = torch.device(_present()[0]).type if asked is None else asked.type
    if best != "cuda" or (asked is not None and asked.index is not None):
        return asked or torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def _present() -> list[str]:
    """All devices by name, the best one first."""
    return [*(f"cuda:{index}" for index in range(torch.cuda.device_count())), "cpu"]
