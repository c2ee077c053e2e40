"""Figures are put into the manifest as a whole, and never while a build is at work."""

import dataclasses
import shutil
import threading
from pathlib import Path

import pytest

from export.compilers.build import BundleUnwritable
from export.parity.cases import Case
from export.parity.record import MeasuredLess, record
from export.parity.report import ImageError
from model.bundle import DENOISER, file_entry, read_manifest, write_manifest
from model.files import locked
from model.specs.manifest import EngineEntry, Parity

SHIPPED = Path(__file__).parents[3] / "deploy" / "models" / "emoji-32"
FILE = "engines/onnx-fp16/denoiser.onnx"
COUNTS = ("td_norms", "td_norms_single_kernel", "attentions", "attentions_fused")


@pytest.fixture
def folder(tmp_path):
    """A bundle that lists an engine."""
    folder = shutil.copytree(SHIPPED, tmp_path / "bundle")
    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(b"graph")
    manifest = read_manifest(folder)
    entry = EngineEntry(
        part="denoiser",
        backend="onnx",
        precision="fp16",
        arch=None,
        library="onnx 1",
        key="0" * 64,
        sources={DENOISER: manifest.files[DENOISER].sha256},
        batch_buckets=(1,),
        file=FILE,
        report={"plan_bytes": 5, **dict.fromkeys(COUNTS, 0)},
    )
    files = {**manifest.files, FILE: file_entry(folder / FILE)}
    write_manifest(folder, manifest.model_copy(update={"files": files, "engines": (entry,)}))
    return folder


def test_figures_are_kept_with_the_engine_they_are_of(folder, report):
    engines = read_manifest(folder).engines
    assert record(folder, engines, report) == [FILE]
    assert read_manifest(folder).engines[0].parity == report.entry("denoiser")


def test_an_engine_that_was_replaced_meanwhile_is_left_alone(folder, report):
    (entry,) = read_manifest(folder).engines
    before = (folder / "manifest.json").read_bytes()
    assert record(folder, [entry.model_copy(update={"key": "1" * 64})], report) == []
    assert (folder / "manifest.json").read_bytes() == before


def test_a_part_of_which_nothing_was_measured_is_left_alone(folder, report):
    (entry,) = read_manifest(folder).engines
    before = (folder / "manifest.json").read_bytes()
    for part in ("decoder", "text_encoder"):
        assert record(folder, [entry.model_copy(update={"part": part})], report) == []
    assert (folder / "manifest.json").read_bytes() == before


def test_a_build_is_waited_for_and_what_it_listed_stays(folder, report):
    manifest = read_manifest(folder)
    recorded = []
    with locked(folder):
        recorder = threading.Thread(
            target=lambda: recorded.extend(record(folder, manifest.engines, report))
        )
        recorder.start()
        recorder.join(0.05)
        waited = recorder.is_alive()
        write_manifest(folder, manifest.model_copy(update={"description": "built meanwhile"}))
    recorder.join()
    assert waited
    assert recorded == [FILE]
    assert read_manifest(folder).description == "built meanwhile"
    assert read_manifest(folder).engines[0].parity == report.entry("denoiser")


def test_a_bundle_that_cannot_be_written_is_refused_by_name(folder, report, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BundleUnwritable, match=f"{folder}: No space left on device"):
        record(folder, read_manifest(folder).engines, report)
    assert read_manifest(folder).engines[0].parity is None


def test_a_failure_is_not_wiped_out_by_what_looks_at_less(folder, report):
    (entry,) = engines = read_manifest(folder).engines
    images = [ImageError(Case(k, k, 32), db) for k, db in enumerate((45.0, 60.0))]
    report = dataclasses.replace(report, images=images)
    failing = dataclasses.replace(report, threshold=Parity(image_psnr_db=50))
    assert record(folder, engines, failing) == [FILE]
    fewer = dataclasses.replace(report, images=images[1:])
    quicker = dataclasses.replace(report, sampling=report.sampling.model_copy(update={"steps": 1}))
    for lax in (fewer, quicker):
        with pytest.raises(MeasuredLess, match=f"{FILE} failed with 2 samples of 20 steps"):
            record(folder, engines, lax)
        assert read_manifest(folder).engines[0].failed
    assert record(folder, engines, report) == [FILE]
    assert not read_manifest(folder).engines[0].failed
    assert entry.parity is None
