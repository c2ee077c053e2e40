"""Everything that only a GPU can tell, section by section, within ten minutes.

Each section is a process with a time budget: a library that is missing, crashes or hangs costs that
section alone. The JSON is written whenever there is something new. A rehearsal runs all that a CPU
can run, in small, and says so: its figures are of no meaning and of no GPU.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from model.files import write_whole
from tests.benchmarks.gpu.sections import SECTIONS, Section, carry_out
from tests.benchmarks.gpu.setting import Setting, ceilings_of
from tests.benchmarks.gpu.tables import tables_of

ALL_S = 580.0  # under ten minutes with the start of this process
LEAST_S = 8.0  # in which a section is worth starting
LOOK_S = 2.0
BEGINNING = 0.9  # of its time, in which a section begins cases
WIDTH = 132  # of tables in a file
PACKAGES = ("torch", "triton", "tensorrt", "tensorrt_rtx", "torch_tensorrt", "onnx", "onnxruntime")
NOTES = {
    False: "medians of CUDA events; ticks and images by the host's clock, its own part included",
    True: "a rehearsal on a CPU in small: no figure in here is a GPU's, or of any use",
}


def measure(path: Path, header: Mapping[str, object], *, rehearsal: bool) -> None:
    """Run all sections, print tables, and write the JSON after every figure that is new."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupted)
    document: dict[str, Any] = {
        **header,
        "rehearsal": rehearsal,
        "note": NOTES[rehearsal],
        "hardware": _processor_facts() if rehearsal else _gpu_facts(),
        "versions": {name: _version(name) for name in PACKAGES},
        "sections": {},
    }
    console = Console(width=None if sys.stdout.isatty() else WIDTH, markup=False)
    with tempfile.TemporaryDirectory(prefix="dimr-gpu-") as scratch:
        for name, section in SECTIONS.items():
            if section.rehearsed_alone and not rehearsal:
                continue
            left = ALL_S - (time.monotonic() - began)
            run = _Run(name, section, Path(scratch), min(section.budget_s, left), rehearsal)
            for state in run.states():
                document["sections"][name] = state
                document["seconds"] = round(time.monotonic() - began, 1)
                _write(path, document)
            for shown in tables_of(name, document["sections"][name], rehearsal=rehearsal):
                console.print(shown)


class _Run:
    """One section's process."""

    def __init__(
        self, name: str, section: Section, scratch: Path, limit_s: float, rehearsal: bool
    ) -> None:
        self._name = name
        self._section = section
        self._scratch = scratch
        self._limit_s = limit_s
        self._rehearsal = rehearsal
        self._out = scratch / f"{name}.json"

    def states(self) -> Any:
        """The section as it is from time to time, at last as it ended."""
        if self._limit_s < LEAST_S:
            yield {"state": "left out", "why": "no time was left for it", "figures": {}}
            return
        if self._rehearsal and not self._section.interpreted:
            yield {"state": "running", **self._read()}
            yield self._here()
            return
        began = time.monotonic()
        log = self._scratch / f"{self._name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                self._command(began + BEGINNING * self._limit_s),
                stdout=said,
                stderr=said,
                env=self._environment(),
                start_new_session=True,
            )
            try:
                while process.poll() is None and time.monotonic() - began < self._limit_s:
                    yield {"state": "running", **self._read()}
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(LOOK_S)
                code = process.poll()
            finally:
                _end(process)
        found = self._read()
        ended: dict[str, object] = {"state": "done", "seconds": round(time.monotonic() - began, 1)}
        if code is None:
            ended |= {"state": "out of time", "why": f"ended after {self._limit_s:.0f} s"}
        elif code != 0:
            tail = log.read_text(errors="replace")[-1500:]
            ended |= {"state": "failed", "why": f"exit status {code}: {tail}"}
        elif found["errors"]:
            ended |= {"state": _state(found)}
        yield {**ended, **found}

    def _here(self) -> dict[str, object]:
        """Rehearse in this process, which saves the start of another."""
        began = time.monotonic()
        ends = began + BEGINNING * self._limit_s
        ceilings = ceilings_of(self._scratch)
        setting = Setting(torch.device("cpu"), self._out, self._scratch, ceilings, ends)
        carry_out(self._name, setting)
        found = self._read()
        seconds = round(time.monotonic() - began, 1)
        return {"state": _state(found), "seconds": seconds, **found}

    def _command(self, ends: float) -> list[str]:
        return [
            *(sys.executable, "-m", "tests.benchmarks.gpu", self._name),
            *("--device", "cpu" if self._rehearsal else "cuda"),
            *("--out", str(self._out), "--scratch", str(self._scratch)),
            *("--ends", str(ends)),  # a clock that all processes share
        ]

    def _environment(self) -> dict[str, str]:
        roots = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "PYTHONUNBUFFERED": "1"}
        if self._rehearsal and self._section.interpreted:
            env["TRITON_INTERPRET"] = "1"
        return env

    def _read(self) -> dict[str, Any]:
        if not self._out.exists():
            return {"figures": {}, "errors": {}}
        found: dict[str, Any] = json.loads(self._out.read_text())
        return found


def _state(found: Mapping[str, Any]) -> str:
    """How a section ended that was not ended."""
    if not found["errors"]:
        return "done"
    some = any(isinstance(figure, dict) for figure in found["figures"].values())
    return "partly done" if some else "failed"


def _interrupted(_signal: int, _frame: object) -> None:
    """Be ended as from the keyboard, so that no section outlives this process."""
    raise KeyboardInterrupt


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _write(path: Path, document: Mapping[str, object]) -> None:
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor_facts() -> dict[str, object]:
    return {"gpu": None, "processor": platform.machine(), "cores": os.cpu_count()}


def _gpu_facts() -> dict[str, object]:
    found = torch.cuda.get_device_properties(0)
    return {
        "gpu": found.name,
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory_mib": found.total_memory // 2**20,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_of_products": torch.backends.cuda.matmul.allow_tf32,
        "tf32_of_convolutions": torch.backends.cudnn.allow_tf32,
        "nvidia_smi": _nvidia_smi(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def _nvidia_smi() -> dict[str, str] | str:
    """Driver, clocks and power of the first GPU, or why they are not known."""
    fields = ("name", "driver_version", "power.limit", "clocks.max.sm", "clocks.max.memory")
    program = shutil.which("nvidia-smi")
    if program is None:
        return "nvidia-smi is not here"
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "--id=0"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"
    values = (value.strip() for value in said.stdout.split(","))
    return dict(zip(fields, values, strict=False))
