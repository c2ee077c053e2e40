"""What a run shows of itself: the live line, the journal, grids of samples and measurements."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.evaluation.monitor import Monitor
from model.sampling.conditions import Wanted
from model.specs.process import SamplingDefaults
from model.training.display import Display
from model.training.journal import Journal
from model.training.loop import Report
from model.training.previews import Previewer, write_grid


@dataclass(frozen=True, slots=True)
class Look:
    """Images to paint every so many steps: what each shows, and its index among all that can."""

    every: int
    wanted: tuple[Wanted, ...]
    indices: tuple[int, ...]
    sampling: SamplingDefaults

    def due(self, step: int) -> bool:
        """Whether a step is one of them."""
        return step % self.every == 0


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where the leading process writes."""

    run: Path
    journal: Journal
    display: Display


@dataclass(frozen=True, slots=True)
class Watch:
    """Shows a run.

    Every process has one and calls it, as all of them paint together; the leading one has an
    outlet.
    """

    painter: Previewer | None
    grid: Look | None
    measured: Look | None
    measure: Monitor | None
    outlet: Outlet | None

    def report(self, report: Report) -> None:
        """Show and log the means of some steps."""
        if self.outlet is not None:
            self.outlet.display.show(report)
            self.outlet.journal.numbers(report.step, report.numbers())

    def after_step(self, step: int) -> None:
        """Move on, paint and measure, if the step is one for it."""
        if self.outlet is not None:
            self.outlet.display.advance(step)
        if self.painter is None:
            return
        if self.grid is not None and self.grid.due(step):
            images = self.painter.paint(self.grid.wanted, self.grid.sampling)
            if self.outlet is not None:
                sheet = write_grid(
                    self.outlet.run, step, images, self.grid.wanted, self.painter.recipe.id
                )
                self.outlet.journal.picture(step, "samples", sheet)
        if self.measured is not None and self.measured.due(step):
            images = self.painter.paint(self.measured.wanted, self.measured.sampling)
            if self.outlet is not None and self.measure is not None:
                figures = self.measure(images, np.array(self.measured.indices))
                self.outlet.journal.numbers(step, figures)
