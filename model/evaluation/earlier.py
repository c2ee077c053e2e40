"""Reports that a card sets beside the new one: of an earlier model, or of lower scales."""

from pathlib import Path

from pydantic import ValidationError

from model.bundle import DENOISER
from model.evaluation.errors import ReportRefused
from model.evaluation.report import EvaluationSpec, Report
from model.specs.manifest import Manifest


def read_before(path: Path, spec: EvaluationSpec) -> Report:
    """The report of an earlier model.

    Raises:
        ReportRefused: it is none, or one of other samples.
    """
    before = _read("--before", path)
    _check_spec("--before", path, before, spec)
    return before


def check_judge(path: Path, before: Report, now: Report) -> None:
    """Refuse an earlier report by another judge.

    Raises:
        ReportRefused: it was made on another machine or with other threads.
    """
    if before.measures.judge_sha256 != now.measures.judge_sha256:
        msg = (
            f"argument --before: {path} is by another judge, as it was made on another machine or "
            f"with other threads; allowed: one made again here (the report itself was written)"
        )
        raise ReportRefused(msg)


def read_lower(path: Path, manifest: Manifest, spec: EvaluationSpec) -> Report:
    """The report of a lower scale of this bundle.

    Raises:
        ReportRefused: it is none, one of other weights, or of otherwise drawn samples.
    """
    lower = _read("--lower", path)
    denoiser, size = manifest.files[DENOISER].sha256, lower.evaluation.size
    if lower.denoiser_sha256 != denoiser or size is None:
        msg = (
            f"argument --lower: {path} is of size {size} of bundle {lower.bundle_id} "
            f"({lower.denoiser_sha256[:12]}...); allowed: a lower one of this bundle "
            f"({denoiser[:12]}...)"
        )
        raise ReportRefused(msg)
    _check_spec("--lower", path, lower, spec.model_copy(update={"size": size}))
    return lower


def _read(option: str, path: Path) -> Report:
    try:
        return Report.model_validate_json(path.read_bytes())
    except ValidationError as error:
        msg = f"argument {option}: {path} is no report of this command"
        raise ReportRefused(msg) from error


def _check_spec(option: str, path: Path, report: Report, spec: EvaluationSpec) -> None:
    if report.evaluation != spec:
        msg = f"argument {option}: {path} is of {report.evaluation}; allowed: one of {spec}"
        raise ReportRefused(msg)
