"""What is measured, in order of importance, and how long each may take."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from model.specs.manifest import Backend
from tests.benchmarks.gpu.setting import Setting, described


@dataclass(frozen=True, slots=True)
class Section:
    """Attributes:
    budget_s: after which it is ended, wherever it is.
    measure: fills in the figures.
    interpreted: whether a rehearsal needs Triton's interpreter, and so a process of its own.
    rehearsed_alone: whether it belongs to a rehearsal only.
    """

    budget_s: float
    measure: Callable[[Setting], None]
    interpreted: bool = False
    rehearsed_alone: bool = False


def _ceilings(setting: Setting) -> None:
    from tests.benchmarks.gpu import ceilings

    ceilings.measure(setting)


def _kernels(setting: Setting) -> None:
    from tests.benchmarks.gpu import norms, updates

    norms.measure_served(setting)
    updates.measure_served(setting)
    norms.measure_streamed(setting)
    updates.measure_streamed(setting)
    norms.measure_compiled(setting)


def _eager(setting: Setting) -> None:
    from tests.benchmarks.gpu import forms

    forms.measure_eager(setting)


def _compiled(setting: Setting) -> None:
    from tests.benchmarks.gpu import forms

    forms.measure_compiled(setting)


def _large(setting: Setting) -> None:
    from tests.benchmarks.gpu import engines

    engines.measure_large(setting)


def _shipped(setting: Setting) -> None:
    from tests.benchmarks.gpu import engines

    engines.measure_shipped(setting)


def _plans(setting: Setting, backend: Backend) -> None:
    from tests.benchmarks.gpu import engines

    engines.measure_plans(setting, backend)


def _large_plans(setting: Setting, backend: Backend) -> None:
    from tests.benchmarks.gpu import engines

    engines.measure_large_plans(setting, backend)


SECTIONS = {
    "ceilings": Section(30, _ceilings),
    "kernels": Section(80, _kernels, interpreted=True),
    "engines": Section(90, _large),
    "tensorrt-rtx": Section(75, partial(_plans, backend="tensorrt-rtx")),
    "tensorrt": Section(60, partial(_plans, backend="tensorrt")),
    "eager": Section(45, _eager),
    "parity": Section(45, _shipped),
    "tensorrt-rtx-large": Section(220, partial(_large_plans, backend="tensorrt-rtx")),
    "tensorrt-large": Section(220, partial(_large_plans, backend="tensorrt")),
    "torch.compile": Section(120, _compiled),
    "onnx": Section(60, partial(_large_plans, backend="onnx"), rehearsed_alone=True),
}
"""Modules are loaded by the section's process alone: one that is missing fails that section."""


def carry_out(name: str, setting: Setting) -> None:
    """Measure a section; what it found before an error stays."""
    setting.write()
    torch.manual_seed(0)
    try:
        SECTIONS[name].measure(setting)
    except Exception as error:  # of any kind: libraries of all sorts are at work
        traceback.print_exc()
        setting.errors["section"] = described(error)
    setting.write()
