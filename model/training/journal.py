"""What a run reports: one JSON line a report, and the same to TensorBoard and Weights & Biases."""

import json
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from model.files import write_whole


class SinkMissing(ValueError):
    """A package to log with is not installed."""

    def __init__(self, package: str, otherwise: str) -> None:
        super().__init__(f"{package} is not installed: pip install {package}, or {otherwise}")


class SinkRefused(ValueError):
    """A service to log to did not take the run."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")


class Sink(Protocol):
    """Somewhere to write numbers and pictures by step."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Record values under their names."""

    def picture(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Record a picture (H, W, 3)."""

    def close(self) -> None:
        """Write everything out."""


class JsonLines:
    """RUN/log.jsonl; lines after the step that a run resumes from are removed first."""

    def __init__(self, run: Path, start: int) -> None:
        self._path = run / "log.jsonl"
        if self._path.is_file():
            lines = self._path.read_text("utf-8").splitlines()
            kept = [f"{line}\n" for line in lines if _step_of(line) <= start]
            write_whole(self._path, "".join(kept).encode())

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; a value that is not finite, as JSON has none, becomes null."""
        rounded = {n: float(f"{v:.6g}") if math.isfinite(v) else None for n, v in values.items()}
        line = {"step": step} | rounded | {"time": round(time.time(), 1)}
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def picture(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Pictures have files of their own."""

    def close(self) -> None:
        """Nothing is held back."""


class TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, run: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Add an image."""
        self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class WeightsAndBiases:
    """A run of a Weights & Biases project; continues under its id when resumed."""

    def __init__(self, run: Path, project: str, config: Mapping[str, Any]) -> None:
        import wandb

        note = run / "wandb-id"
        identity = note.read_text() if note.is_file() else secrets.token_hex(4)
        write_whole(note, identity.encode())
        self._wandb = wandb
        try:
            self._run = wandb.init(
                project=project, id=identity, resume="allow", dir=str(run), config=dict(config)
            )
        except wandb.Error as error:
            raise SinkRefused("--wandb", " ".join(str(error).split())) from error

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log values at a step."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Log an image at a step."""
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class Journal:
    """All sinks at once, closed on leaving."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sink in self._sinks:
            sink.close()

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Record values everywhere."""
        for sink in self._sinks:
            sink.numbers(step, values)

    def picture(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Record a picture everywhere."""
        for sink in self._sinks:
            sink.picture(step, name, image)


def check_sinks(*, tensorboard: bool, wandb_project: str | None) -> None:
    """Refuse a run, before it writes anything, whose journal could not be opened.

    Raises:
        SinkMissing: TensorBoard or Weights & Biases is asked for but not installed.
    """
    if tensorboard and find_spec("tensorboard") is None:
        raise SinkMissing("tensorboard", "add --no-tensorboard")
    if wandb_project is not None and find_spec("wandb") is None:
        raise SinkMissing("wandb", "leave --wandb out")


def open_journal(
    run: Path,
    start: int,
    *,
    tensorboard: bool,
    wandb_project: str | None,
    config: Mapping[str, Any],
) -> Journal:
    """The journal of a run from step `start` on; log.jsonl is always written.

    Raises:
        SinkRefused: Weights & Biases did not take the run.
    """
    sinks: list[Sink] = [JsonLines(run, start)]
    if tensorboard:
        sinks.append(TensorBoard(run, start))
    if wandb_project is not None:
        sinks.append(WeightsAndBiases(run, wandb_project, config))
    return Journal(sinks)


def _step_of(line: str) -> int:
    """The step of a line; a line cut off by a crash counts as too late to keep."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**63
