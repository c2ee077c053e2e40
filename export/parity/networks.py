"""Error of one network call, at the times and states of trajectories in float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from export.compilers.options import Progress
from export.parity.candidates import Candidate
from export.parity.cases import Case
from export.parity.figures import relative_error, written
from export.parity.reference import Call, exactly
from model.bundle import Bundle
from model.diffusion.predictor import NoisePredictor


@dataclass(frozen=True, slots=True)
class CallError:
    """Relative error of the noise that a call predicts, of the worst of its rows.

    Attributes:
        t: its time.
        guided: False without a condition.
        worst: that row's.
        error: see `export.parity.figures.relative_error`.
    """

    t: float
    guided: bool
    worst: Case
    error: float

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        row = self.worst.document()
        return {
            "t": written(self.t),
            "conditional": self.guided,
            "error": written(self.error),
            "worst": row,
        }


def call_errors(
    found: Candidate, bundle: Bundle, calls: Sequence[Call], progress: Progress
) -> tuple[CallError, ...]:
    """Make the same calls by an engine and by the bundle's own network, where that is."""
    manifest = bundle.manifest
    exactly_predicted = NoisePredictor(bundle.network, manifest.process, manifest.network.sides)
    progress.began(found.name, "network calls", len(calls))
    errors = []
    for count, call in enumerate(calls, start=1):
        with exactly():
            exact = exactly_predicted(call.xs, call.t, *call.condition)
        with torch.inference_mode(), found.backend.streams.ticking():
            noises = found.groups(call.xs, call.t, call.condition)
        rows = [
            relative_error(
                torch.cat([noise[row].cpu().flatten() for noise in noises]),
                torch.cat([noise[row].cpu().flatten() for noise in exact]),
            )
            for row in range(len(call.cases))
        ]
        worst = max(range(len(rows)), key=rows.__getitem__)
        errors.append(CallError(call.t[0].item(), call.guided, call.cases[worst], rows[worst]))
        progress.advanced(count)
    return tuple(errors)
