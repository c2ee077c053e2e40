"""Samples compared with a reference by Inception's features, and the report of it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from model.evaluation.errors import EvaluationImpossible
from model.evaluation.inception import Features
from model.evaluation.manifold import NEIGHBOURS, Coverage, coverage
from model.evaluation.measures import Gaussian, frechet_distance, inception_score
from model.evaluation.reference import Reference
from model.specs.base import Spec


class Scores(Spec):
    """What ADM's evaluation suite prints."""

    fid: float = Field(description="Fréchet distance of the pooled features")
    sfid: float = Field(description="Fréchet distance of the spatial features")
    inception_score: float = Field(description="of the samples, over runs of 5000")
    precision: float | None = Field(description="null where the reference has no images")
    recall: float | None = Field(description="null where the reference has no images")


class FileFacts(Spec):
    """A file that was compared; `images` is null where it holds statistics alone."""

    path: str
    sha256: str
    images: int | None


class ComparisonReport(Spec):
    """The JSON report of `dimr-evaluate compare`."""

    format_version: Literal[1] = 1
    date: str = Field(description="UTC, ISO 8601")
    command: str
    seconds: float
    torch: str
    device: str
    samples: FileFacts
    reference: FileFacts
    inception_sha256: str
    neighbours: int = NEIGHBOURS
    scores: Scores


def compare(samples: Features, reference: Reference) -> Scores:
    """Compare features of samples with a reference.

    Raises:
        EvaluationImpossible: there are too few samples, or real images, to have a covariance or
            neighbours.
    """
    least = 2 if reference.features is None else NEIGHBOURS + 1
    for what, found in (("samples", samples.pool), ("reference", reference.features)):
        if found is not None and len(found) < least:
            msg = f"{what}: got {len(found)} images; allowed: at least {least}"
            raise EvaluationImpossible(msg)
    covered: Coverage | None = None
    if reference.features is not None:
        covered = coverage(samples.pool, reference.features)
    return Scores(
        fid=frechet_distance(Gaussian.of(samples.pool), reference.pool),
        sfid=frechet_distance(Gaussian.of(samples.spatial), reference.spatial),
        inception_score=inception_score(samples.logits),
        precision=None if covered is None else covered.precision,
        recall=None if covered is None else covered.recall,
    )


class Row(NamedTuple):
    """One line of a summary, ready to print."""

    measure: str
    value: str
    better: str


def rows(scores: Scores) -> Sequence[Row]:
    """The summary, for a terminal."""
    unknown = "the reference has no images"
    precision, recall = (
        unknown if share is None else f"{share:.4f}" for share in (scores.precision, scores.recall)
    )
    return [
        Row("FID", f"{scores.fid:.4f}", "lower"),
        Row("sFID", f"{scores.sfid:.4f}", "lower"),
        Row("Inception Score", f"{scores.inception_score:.4f}", "higher"),
        Row(f"precision, k = {NEIGHBOURS}", precision, "higher"),
        Row(f"recall, k = {NEIGHBOURS}", recall, "higher"),
    ]
