"""Recipes and data small enough to train on within a test, in memory and by the command."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model.bundle import load_bundle
from model.sampling.conditions import conditions_for
from model.specs.recipe import Recipe
from model.specs.training import ExecutionSpec
from model.text.prompts import Prompts
from model.training import checkpoint
from model.training.__main__ import main
from model.training.data import CaptionedTensors, InMemory, LabelledTensors
from model.training.distributed import World
from model.training.loop import Hooks, Report, train
from model.training.objective import Objective
from model.training.state import TrainingState, new_state

ALONE = World(0, 1, torch.device("cpu"))
DATA = Path(__file__).parents[3] / "deploy" / "data" / "emoji"
PATIENCE_S = 150.0


@dataclass
class Trainer:
    """Runs the loop in memory; `reports` collects what it reports, `saves` counts checkpoints."""

    data: LabelledTensors | CaptionedTensors
    prompts: Prompts | None = None
    reports: list[Report] = field(default_factory=list)
    saves: int = 0

    def start(self, recipe: Recipe, **execution: object) -> TrainingState:
        return new_state(recipe, ExecutionSpec.model_validate(execution), ALONE)

    def run(
        self,
        recipe: Recipe,
        folder: Path,
        state: TrainingState,
        *,
        stop_at: int | None = None,
        keep: checkpoint.Keep = checkpoint.Keep(),  # noqa: B008  # immutable
        after_step: Callable[[int], None] = lambda step: None,
        **execution: object,
    ) -> bool:
        def save() -> None:
            self.saves += 1
            checkpoint.save(folder, state, ALONE, keep=keep)

        hooks = Hooks(
            report=self.reports.append,
            save=save,
            position=lambda: None,
            after_step=after_step,
            stopping=lambda: state.step == stop_at,
            save_every_s=1e9,
        )
        examples = InMemory(self.data, recipe, ALONE).examples(state.step, None)
        spec = ExecutionSpec.model_validate(execution)
        objective = Objective(recipe, conditions_for(recipe.network, self.prompts))
        return train(objective, spec, ALONE, state, examples, hooks)


@pytest.fixture
def trainer(tiny_data) -> Trainer:
    return Trainer(tiny_data)


@pytest.fixture
def layered_trainer(captioned_data, prompts) -> Trainer:
    return Trainer(captioned_data, prompts)


@pytest.fixture
def varied(tiny_recipe) -> Callable[..., Recipe]:
    """The tiny recipe with other values of its training, optimiser, process, data or network."""

    def vary(
        optimiser: dict[str, object] | None = None,
        process: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        network: dict[str, object] | None = None,
        **training: object,
    ) -> Recipe:
        values = json.loads(tiny_recipe.model_dump_json())
        values["data"] = data or values["data"]
        values["network"] |= network or {}
        values["training"] |= training
        values["training"]["optimiser"] |= optimiser or {}
        values["process"] |= process or {}
        values["sampling"]["steps"] = 2
        return Recipe.model_validate(values)

    return vary


@pytest.fixture
def write_recipe(varied: Callable[..., Recipe], tmp_path: Path) -> Callable[..., Path]:
    """A file of a variation; by default of three classes of the shipped images."""

    def write(data: dict[str, object] | None = None, **changes: object) -> Path:
        concepts = ["star", "red apple", "automobile"]
        recipe = varied(data=data or {"kind": "emoji", "concepts": concepts, "size": 16}, **changes)
        path = tmp_path / f"recipe-{len(list(tmp_path.glob('recipe-*')))}.json"
        path.write_text(recipe.model_dump_json())
        return path

    return write


@pytest.fixture
def emoji_recipe(write_recipe: Callable[..., Path]) -> Path:
    return write_recipe()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Class folders of 6 cats and 6 dogs, of other shapes than the crop."""
    folder = tmp_path / "pictures"
    random = np.random.default_rng(0)
    for k in range(12):
        path = folder / ("cat" if k < 6 else "dog") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def call() -> Iterator[Callable[..., int]]:
    """dimr-train within this process; its signal handlers and threads are put back."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    threads = torch.get_num_threads()

    def run(recipe: Path | str, out: Path, *more: str, data: Path | str = DATA) -> int:
        return main([str(recipe), "--data", str(data), "--out", str(out), "--threads", "1", *more])

    yield run
    torch.set_num_threads(threads)
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@dataclass
class Launcher:
    """Runs dimr-train in processes of its own, alone or by torchrun."""

    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self,
        recipe: Path,
        out: Path,
        *more: str,
        processes: int = 1,
        data: Path | str = DATA,
        **options: object,
    ) -> subprocess.Popen[str]:
        launched = [sys.executable]
        if processes > 1:
            launched += ["-m", "torch.distributed.run", "--standalone"]
            launched += ["--nproc-per-node", str(processes)]
        launched += ["-m", "model.training", str(recipe), "--data", str(data), "--out", str(out)]
        process: subprocess.Popen[str] = subprocess.Popen(
            [*launched, "--device", "cpu", "--threads", "1", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            **options,  # type: ignore[call-overload]  # what a test passes on
        )
        self.started.append(process)
        return process

    def run(self, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **options)  # type: ignore[arg-type]  # as above
        return self.finished(process)

    def finished(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def wait_until(self, process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
        """Until something is there, which the process must bring about before it ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not there():
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
            assert process.returncode is None or there(), process.communicate()[1]
            assert time.monotonic() < deadline

    def children(self, process: subprocess.Popen[str]) -> list[int]:
        """Process ids of the children of a process."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended
                parent = status.read_text().rpartition(")")[2].split()[1]
                found += [int(status.parent.name)] * (int(parent) == process.pid)
        return found

    def living(self, ids: list[int]) -> list[int]:
        """Those that have not ended."""
        return [pid for pid in ids if Path(f"/proc/{pid}").exists()]

    def signal_group(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        """What Ctrl-C and some service managers do: tell all processes at once."""
        os.killpg(process.pid, number)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """End a run and all its processes at once, as a crash of the machine would."""
        for child in self.children(process):  # those of torchrun have process groups of their own
            with suppress(ProcessLookupError):
                os.killpg(os.getpgid(child), signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    for process in launcher.started:
        if process.poll() is None:
            launcher.kill(process)


@pytest.fixture
def steps_saved() -> Callable[[Path], list[int]]:
    """The steps of a run's checkpoints, oldest first."""

    def list_steps(run: Path) -> list[int]:
        return sorted(int(p.name[5:]) for p in (run / "checkpoints").glob("step-*"))

    return list_steps


@pytest.fixture
def weights() -> Callable[[Path], dict[str, Tensor]]:
    """The weights of a run's bundle."""

    def load(run: Path) -> dict[str, Tensor]:
        return load_bundle(run / "bundle").network.state_dict()

    return load


@pytest.fixture
def shards(pictures: Path, tmp_path: Path) -> tuple[str, Path]:
    """The pictures as three piped WebDataset shards that can only be streamed, and the classes."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        with tarfile.open(folder / f"{number}.tar", "w") as archive:
            for path in sorted(pictures.rglob("*.png"), key=lambda path: int(path.stem)):
                if int(path.stem) % 3 == number:
                    label = int(path.parent.name == "dog")
                    for name, content in (("png", path.read_bytes()), ("cls", b"%d" % label)):
                        member = tarfile.TarInfo(f"{path.stem}.{name}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
    names = tmp_path / "classes.txt"
    names.write_text("cat\ndog\n")
    return f"pipe:cat {folder}/{{0..2}}.tar", names
