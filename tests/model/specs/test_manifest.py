"""Engines in a manifest: what is listed can be trusted to be whole, and in a place of its own."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from model.specs.faults import described
from model.specs.manifest import EngineEntry, Manifest

SHIPPED = Path(__file__).parents[3] / "deploy" / "models"
FILE = "engines/tensorrt-sm80-fp16/denoiser-0123456789ab.plan"
WEIGHTS = "denoiser.safetensors"
REPORT = {
    "plan_bytes": 10,
    "td_norms": 3,
    "td_norms_single_kernel": 3,
    "attentions": 1,
    "attentions_fused": 1,
}
ENTRY = {
    "part": "denoiser",
    "backend": "tensorrt",
    "precision": "fp16",
    "arch": "sm80",
    "library": "tensorrt 11.4.0",
    "key": "0" * 64,
    "sources": {WEIGHTS: "1" * 64},
    "batch_buckets": [1, 2, 4],
    "file": FILE,
    "report": REPORT,
}


def listing(*entries):
    """The manifest of a shipped bundle that lists these engines, and their files."""
    document = json.loads((SHIPPED / "emoji-32" / "manifest.json").read_text())
    files = {entry["file"]: {"sha256": "2" * 64, "size_bytes": 10} for entry in entries}
    return document | {"engines": list(entries), "files": document["files"] | files}


def refusal(*entries):
    with pytest.raises(ValidationError) as refused:
        Manifest.model_validate(listing(*entries))
    return described(refused.value.errors()[0])


def test_an_engine_that_is_whole_is_listed():
    (entry,) = Manifest.model_validate(listing(ENTRY)).engines
    assert entry.batch_buckets == (1, 2, 4)
    assert entry.norms == "compiler"


@pytest.mark.parametrize("name", ["emoji-32", "emoji-layered-64"])
def test_a_manifest_without_engines_loads(name):
    document = json.loads((SHIPPED / name / "manifest.json").read_text())
    document.pop("engines", None)
    document.pop("parity", None)
    assert Manifest.model_validate(document).engines == ()


@pytest.mark.parametrize(
    "file", [WEIGHTS, "labels.json", "autoencoder/config.json", "engines/denoiser.plan"]
)
def test_an_engine_is_a_file_among_engines_and_never_one_of_weights(file):
    assert refusal(ENTRY | {"file": file}).startswith("engines.0.file: ")


def test_two_engines_never_share_a_file():
    other = ENTRY | {"precision": "fp32"}
    assert refusal(ENTRY, other).startswith(f"engines.1.file: got {FILE!r}; allowed: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sources", {}),
        ("batch_buckets", []),
        ("batch_buckets", [2, 1]),
        ("batch_buckets", [1, 1]),
        ("batch_buckets", [0, 1]),
        ("report", {}),
        *(("report", {**REPORT, name: value}) for name in REPORT for value in ("3", True, -1, 0.5)),
        *(("report", {**REPORT, name: None}) for name in ("plan_bytes", "td_norms", "attentions")),
        *(("report", {k: v for k, v in REPORT.items() if k != name}) for name in REPORT),
    ],
)
def test_an_engine_that_says_too_little_of_itself_is_refused_by_the_field(field, value):
    assert refusal(ENTRY | {field: value}).startswith(f"engines.0.{field}")


@pytest.mark.parametrize("field", ["sources", "batch_buckets", "report"])
def test_what_every_engine_says_cannot_be_left_out(field):
    entry = {name: value for name, value in ENTRY.items() if name != field}
    assert refusal(entry).startswith(f"engines.0.{field}: ")


def test_a_compiler_that_tells_nothing_of_fusion_may_say_so():
    unknown = {"td_norms_single_kernel": None, "attentions_fused": None, "nodes": 7}
    (entry,) = Manifest.model_validate(listing(ENTRY | {"report": REPORT | unknown})).engines
    assert entry.report["nodes"] == 7


@pytest.mark.parametrize(
    ("parity", "failed"),
    [(None, False), ({"passed": True}, False), ({"passed": False}, True), ({}, True)],
)
def test_an_engine_failed_if_it_was_verified_and_did_not_pass(parity, failed):
    assert EngineEntry.model_validate(ENTRY | {"parity": parity}).failed is failed
