"""Whole training states on disk: written aside and renamed, so one that is there is complete."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

KEPT = 2  # the newest, and one older in case the newest turns out to be bad


class ResumeRefused(ValueError):
    """The folder holds a run that cannot be continued as asked."""


@dataclass(slots=True)
class TrainingState:
    """Everything that changes while training; with the recipe it determines the rest of the run."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name: weights, their average, and the moments of the optimiser."""
        named = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        named |= {f"average/{k}": v for k, v in self.average.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                named[f"{key}/{name}"] = value
        return named

    def load(self, named: dict[str, Tensor], step: int) -> None:
        """Take over what `tensors` returned."""
        self.step = step
        for prefix, module in (("network/", self.network), ("average/", self.average)):
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}
            )
        for name, parameter in self.network.named_parameters():
            self.optimiser.state[parameter] = {
                key: named[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
            }


def save(run: Path, state: TrainingState) -> Path:
    """Write checkpoints/step-N below `run` atomically, then drop all but the newest two."""
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{state.step:09d}"
    aside = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    save_file({k: v.contiguous() for k, v in state.tensors().items()}, aside / "state.safetensors")
    (aside / "state.json").write_text(json.dumps({"step": state.step}))
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)
    return final


def newest(run: Path) -> Path | None:
    """The latest complete checkpoint of a run, None if there is none."""
    return max((run / "checkpoints").glob("step-*"), default=None)


def restore(run: Path, state: TrainingState) -> None:
    """Continue from the newest checkpoint of a run.

    Raises:
        ResumeRefused: the run has no checkpoint.
    """
    folder = newest(run)
    if folder is None:
        msg = f"--resume: {run} holds no checkpoint; allowed: a folder of an earlier run"
        raise ResumeRefused(msg)
    step = json.loads((folder / "state.json").read_text())["step"]
    state.load(load_file(folder / "state.safetensors"), step)
