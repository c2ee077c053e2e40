"""Reports: the worst is named, and every reason to fail is said with what is allowed."""

import dataclasses
import math

import pytest

from export.parity.cases import Case
from export.parity.islands import IslandError
from export.parity.networks import CallError
from model.specs.manifest import Parity

CAT = Case("a cat", 2, 32)


def test_the_worst_image_is_named(report):
    assert report.worst.case.seed == 1
    assert report.document()["worst"] == {"class": 3, "seed": 1, "size": 16}
    assert not report.failures


def test_a_part_for_the_lower_scales_has_the_figures_of_their_size(report):
    assert report.entry("denoiser-1")["image_psnr_db"] == 45
    assert report.entry("denoiser-2")["image_psnr_db"] == 50
    assert report.entry("denoiser-2")["worst"] == {"prompt": "a cat", "seed": 2, "size": 32}


def test_a_part_that_was_not_measured_has_no_figures(report):
    assert report.entry("decoder") is None
    assert report.entry("text_encoder") is None
    measured = dataclasses.replace(report, decoder=(50.0, 45.0), text=1e-3)
    assert measured.entry("decoder")["image_psnr_db"] == 45
    assert measured.entry("text_encoder")["error"] == 1e-3


def test_an_island_is_kept_with_the_part_that_has_it(report):
    islands = {
        "denoiser-2": (),
        "text_encoder": (IslandError(None, "", 1e-3), IslandError("*.wo", "it grows", math.inf)),
    }
    report = dataclasses.replace(report, islands=islands, text=1e-3)
    written = [
        {"without": None, "why": "", "error": 1e-3},
        {"without": "*.wo", "why": "it grows", "error": None},
    ]
    assert report.document()["islands"] == {"denoiser-2": [], "text_encoder": written}
    assert report.entry("text_encoder")["islands"] == written
    assert report.entry("denoiser-1")["islands"] == report.entry("denoiser-2")["islands"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threshold": Parity(image_psnr_db=46)}, "got 45.0 dB at class 3, seed 1, 16 pixels"),
        ({"threshold": Parity(image_psnr_db=55)}, "less than 55 dB in 2 of 3 images; allowed: 55"),
        ({"decoder": (50.0, 39.0)}, "decoder: got 39.0 dB; allowed: 40 dB or more"),
        ({"text": 0.5}, "text encoder: relative error of states: got 0.5; allowed: 0.02 or less"),
        ({"text": math.nan}, "text encoder: relative error of states: got nan"),
        (
            {"calls": [CallError(0.5, guided=True, worst=CAT, error=math.inf)]},
            "network call at t = 0.500: what it predicts for prompt 'a cat', seed 2, 32 pixels",
        ),
    ],
)
def test_every_reason_to_fail_is_said(report, change, reason):
    (failure,) = dataclasses.replace(report, **change).failures
    assert reason in failure


def test_what_was_recorded_fails_with_the_report(report):
    broken = dataclasses.replace(report, text=0.5)
    assert not broken.entry("text_encoder")["passed"]
    assert not broken.entry("denoiser")["passed"]
    assert dataclasses.replace(report, text=1e-3).entry("text_encoder")["passed"]


def test_a_call_that_is_far_off_fails_by_the_limit_of_its_precision(report):
    far = dataclasses.replace(report.calls[1], error=0.02)
    calls = [report.calls[0], far, report.calls[2]]
    assert dataclasses.replace(report, calls=calls).failures == ()
    (reason,) = dataclasses.replace(report, calls=calls, precision="float32").failures
    assert reason.startswith("network call at t = 0.500: relative error for class 3, seed 1")
    assert reason.endswith("got 0.02; allowed in float32: 0.001 or less, as the manifest says")
