"""Networks of the paper's full size: whether a small machine exports and builds them, and in what.

Each is written as a bundle of random weights, and `dimr-export build` runs on it as a process of
its own, whose time and peak of memory are what a user would see.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from model.bundle import write_bundle
from model.denoisers.build import build_denoiser
from model.specs.files import read_recipe
from model.specs.layered import LayeredSpec

NETWORKS = ("dimr-xl2r-256", "dimr-xl3r-512")
BUCKETS = (1, 2, 4, 8, 16)
ARCH = "sm80"
WIDTH = 132  # of tables in a file
_GIB, _MB, _KIB = 2**30, 1e6, 1024


class NotBuilt(RuntimeError):
    """A build failed; what it said has been shown."""


def measure(names: Sequence[str]) -> dict[str, object]:
    """Build each network, print a table, and return the figures.

    Raises:
        NotBuilt: the command failed for one of them.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    built = {}
    for name in names:
        console.print(f"{name}: writing a bundle of random weights, then building {ARCH}")
        built[name] = _built(name)
    table = Table(
        "network", "parameters", "seconds", "peak GiB", "plan MB", "TD norms", "fused MHA"
    )
    for name, figures in built.items():
        table.add_row(
            name,
            f"{figures['parameters'] / 1e6:.1f} M",
            f"{figures['seconds']:.0f}",
            f"{figures['peak_memory_bytes'] / _GIB:.1f}",
            f"{figures['plan_bytes'] / _MB:.0f}",
            f"{figures['td_norms_single_kernel']} of {figures['td_norms']}",
            f"{figures['attentions_fused']} of {figures['attentions']}",
        )
    console.print(table)
    return {"buckets": BUCKETS, "arch": ARCH, "networks": built}


def _built(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as aside:
        folder, report = Path(aside) / name, Path(aside) / "report.json"
        parameters = _write(name, folder)
        command = [
            *(sys.executable, "-m", "export", "build", str(folder), "--backend", "tensorrt-rtx"),
            *("--arch", ARCH, "--buckets", ",".join(map(str, BUCKETS)), "--report", str(report)),
        ]
        began = time.perf_counter()
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode != 0:
            msg = f"{name}: dimr-export build ended with status {process.returncode}"
            raise NotBuilt(msg)
        return {
            "parameters": parameters,
            "peak_memory_bytes": usage.ru_maxrss * _KIB,
            **json.loads(report.read_text()),
            "seconds": seconds,
        }


def _write(name: str, folder: Path) -> int:
    """Write a bundle with weights none of which is where it starts; returns how many there are."""
    torch.manual_seed(0)
    recipe = read_recipe(name)
    assert not isinstance(recipe.network, LayeredSpec)
    network = build_denoiser(recipe.network).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    classes = [f"class {index}" for index in range(recipe.network.classes)]
    write_bundle(folder, recipe, network, classes, steps=0)
    return sum(parameter.numel() for parameter in network.parameters())
