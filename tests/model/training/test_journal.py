"""What is written of a run: JSON lines, TensorBoard's event files, Weights & Biases."""

import json
import math
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing import (  # type: ignore[import-untyped]  # no stubs
    event_accumulator,
)

from model.training import journal as journals
from model.training.journal import SinkMissing, SinkRefused, check_sinks, open_journal


def opened(run, start=0, *, tensorboard=False, wandb=None):
    run.mkdir(exist_ok=True)
    return open_journal(
        run, start, tensorboard=tensorboard, wandb_project=wandb, config={"id": "tiny"}
    )


def lines_of(run):
    text = (run / "log.jsonl").read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_lines_behind_the_step_that_a_run_continues_from_are_removed(tmp_path):
    with opened(tmp_path) as journal:
        for step in (50, 100, 150):
            journal.numbers(step, {"loss": step / 7})
    with opened(tmp_path, 100) as journal:
        assert [line["step"] for line in lines_of(tmp_path)] == [50, 100]
        journal.numbers(150, {"loss": 0.5})
    assert [line["step"] for line in lines_of(tmp_path)] == [50, 100, 150]
    assert lines_of(tmp_path)[2]["loss"] == 0.5


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_a_line_that_a_crash_cut_off_is_no_line(tmp_path, cut):
    with opened(tmp_path) as journal:
        journal.numbers(50, {"loss": 1.0})
        journal.numbers(100, {"loss": 1.0})
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with opened(tmp_path, 100) as journal:
        journal.numbers(150, {"loss": 1.0})
    assert [line["step"] for line in lines_of(tmp_path)] in ([50, 100, 150], [50, 150])


def test_a_value_that_is_not_finite_is_null_as_json_has_no_other(tmp_path):
    with opened(tmp_path) as journal:
        journal.numbers(50, {"loss": 1.25, "gradient_norm": math.inf})
    (line,) = lines_of(tmp_path)
    assert (line["loss"], line["gradient_norm"]) == (1.25, None)
    assert "Infinity" not in (tmp_path / "log.jsonl").read_text()


def test_tensorboard_shows_scalars_and_pictures_and_forgets_what_is_done_again(tmp_path):
    picture = np.full((4, 6, 3), 200, np.uint8)
    with opened(tmp_path, tensorboard=True) as journal:
        for step in (50, 100, 150):
            journal.numbers(step, {"loss": float(step)})
        journal.picture(100, "samples", picture)
    (first,) = (tmp_path / "tensorboard").iterdir()
    first.rename(first.with_name("events.out.tfevents.1000000000.yesterday"))
    with opened(tmp_path, 100, tensorboard=True) as journal:
        journal.numbers(150, {"loss": 7.0})
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(50, 50), (100, 100), (150, 7)]
    (image,) = events.Images("samples")
    assert (image.step, image.width, image.height) == (100, 6, 4)


def test_scalars_are_on_disk_while_the_run_goes_on(tmp_path):
    with opened(tmp_path, tensorboard=True) as journal:
        journal.numbers(50, {"loss": 1.0})
        events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        assert [event.step for event in events.Scalars("loss")] == [50]


@pytest.mark.parametrize(
    ("package", "options", "advice"),
    [
        ("tensorboard", {"tensorboard": True, "wandb_project": None}, "add --no-tensorboard"),
        ("wandb", {"tensorboard": False, "wandb_project": "dimr"}, "leave --wandb out"),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, package, options, advice):
    monkeypatch.setattr(
        journals, "find_spec", lambda name: None if name == package else SimpleNamespace()
    )
    with pytest.raises(SinkMissing, match=f"{package} is not installed: .*, or {advice}"):
        check_sinks(**options)
    check_sinks(tensorboard=False, wandb_project=None)


class FakeWandb(ModuleType):
    """Stands in for the foreign package and records what it is told."""

    class Error(Exception):
        """Base class of its errors."""

    def __init__(self, refusal=None):
        super().__init__("wandb")
        self.refusal = refusal
        self.starts = []
        self.logged = []
        self.finished = 0
        self.Image = lambda pixels: ("image", pixels.shape)

    def init(self, **settings):
        if self.refusal is not None:
            raise self.Error(self.refusal)
        self.starts.append(settings)
        return self

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.fixture
def fake_wandb(monkeypatch):
    def install(**facts):
        module = FakeWandb(**facts)
        monkeypatch.setitem(sys.modules, "wandb", module)
        return module

    return install


def test_weights_and_biases_gets_everything_and_keeps_its_run_over_a_resume(tmp_path, fake_wandb):
    wandb = fake_wandb()
    with opened(tmp_path, wandb="dimr") as journal:
        journal.numbers(50, {"loss": 1.0})
        journal.picture(50, "samples", np.zeros((4, 6, 3), np.uint8))
    with opened(tmp_path, 50, wandb="dimr") as journal:
        journal.numbers(100, {"loss": 0.5})
    assert wandb.logged == [
        (50, {"loss": 1.0}),
        (50, {"samples": ("image", (4, 6, 3))}),
        (100, {"loss": 0.5}),
    ]
    first, second = wandb.starts
    assert len(first["id"]) == 8
    assert first["id"] == second["id"]
    assert (first["project"], first["resume"], first["dir"]) == ("dimr", "allow", str(tmp_path))
    assert first["config"] == {"id": "tiny"}
    assert wandb.finished == 2


def test_a_refusal_of_weights_and_biases_is_one_line(tmp_path, fake_wandb):
    fake_wandb(refusal="api_key not configured.\n  Use wandb login")
    with pytest.raises(SinkRefused, match=r"^--wandb: api_key not configured. Use wandb login$"):
        opened(tmp_path, wandb="dimr")
