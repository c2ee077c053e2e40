"""Which engines of a manifest figures hold for: those that were opened, and no others."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from export.parity.candidates import opened_of, reader_of, spoken_for, told_apart
from export.runtime.encoder import PartEncoder
from export.runtime.refusal import EngineRefused
from export.runtime.site import Site
from model.bundle import DENOISER, Bundle
from model.specs.manifest import EngineEntry
from model.text.prompts import Prompts

COUNTS = ("td_norms", "td_norms_single_kernel", "attentions", "attentions_fused")


@pytest.fixture
def listing(bundle):
    """The bundle with engines in its manifest that differ in this from a FP16 plan for sm80."""

    def make(*changes):
        manifest = bundle.manifest
        plain = {
            "part": "denoiser",
            "backend": "tensorrt",
            "precision": "fp16",
            "arch": "sm80",
            "library": "tensorrt 11.4.0",
            "sources": {DENOISER: manifest.files[DENOISER].sha256},
            "batch_buckets": (1, 2),
            "report": {"plan_bytes": 5, **dict.fromkeys(COUNTS, 0)},
        }
        entries = tuple(
            EngineEntry.model_validate(
                {**plain, "key": f"{k:064}", "file": f"engines/some/{k}.plan", **change}
            )
            for k, change in enumerate(changes)
        )
        return Bundle(
            manifest.model_copy(update={"engines": entries}), bundle.labels, bundle.network
        )

    return make


TORCH = {"backend": "torch-tensorrt", "library": "tensorrt 11.4.0 (torch_tensorrt 2.13.0)"}


def keys(entries):
    return [int(entry.key) for entry in entries]


def running(precision="float16", **facts) -> Any:
    return SimpleNamespace(precision=precision, facts=facts)


def builds_of(bundle, name, tmp_path):
    return told_apart(Site(tmp_path, bundle, torch.device("cpu"), 1), name)


def test_of_two_builds_that_look_alike_one_is_opened_and_recorded(listing, tmp_path):
    bundle = listing({}, TORCH)
    builds = builds_of(bundle, "tensorrt", tmp_path)
    backend = running(library="tensorrt 11.4.0", arch="sm80")
    assert keys(opened_of(builds, backend)) == [0], "the one that a worker takes"


def test_builds_for_another_gpu_or_by_another_library_are_not_recorded(listing, tmp_path):
    bundle = listing(
        {"arch": "sm90"}, {}, {"precision": "fp32"}, {**TORCH, "library": "tensorrt 10"}
    )
    builds = builds_of(bundle, "tensorrt", tmp_path)
    backend = running(library="tensorrt 11.4.0", arch="sm80")
    assert keys(opened_of(builds, backend)) == [1]


def test_all_parts_of_what_was_opened_come_with_it(listing, tmp_path):
    onnx = {"backend": "onnx", "arch": None, "precision": "fp32", "library": "onnx 1.19"}
    bundle = listing(onnx, {**onnx, "part": "decoder"}, {})
    builds = builds_of(bundle, "onnx", tmp_path)
    assert keys(opened_of(builds, running("float32", library="onnxruntime 1.31"))) == [0, 1]


def test_an_engine_that_is_not_built_has_no_entries(listing, tmp_path):
    assert builds_of(listing({}), "pytorch-cuda", tmp_path) == ()


def test_a_bundle_without_an_engine_is_refused(listing, tmp_path):
    with pytest.raises(EngineRefused, match="dimr-export build"):
        builds_of(listing({}), "tensorrt-rtx", tmp_path)


@pytest.mark.parametrize(
    ("change", "spoken"),
    [
        ({}, True),
        ({"islands": ("time",)}, True),  # it has no weights in this network
        ({"islands": ("time", "*.wo")}, True),
        ({"islands": ("conv",)}, False),
        ({"precision": "fp32"}, False),
        ({"part": "decoder"}, False),
        ({"sources": {DENOISER: "0" * 64}}, False),
        ({"sources": {"gone.safetensors": "0" * 64}}, False),
        ({"parity": {"engine": "graph", "passed": False}}, True),
        ({"parity": {"engine": "tensorrt", "passed": True}}, False),
    ],
)
def test_a_graph_speaks_for_fp16_engines_of_the_same_weights_and_islands(listing, change, spoken):
    assert bool(spoken_for(listing(change))) is spoken


def test_a_text_encoder_that_was_compiled_is_verified_and_the_bundles_own_is_not(encoder):
    compiled = PartEncoder(encoder, lambda ids, mask: (ids[..., None] * 2.0,))
    read = reader_of(with_prompts(Prompts(compiled, 3)))
    assert read is not None
    (states,) = read(torch.tensor([[3, 5, 1]]), torch.ones(1, 3, dtype=torch.bool))
    assert states.flatten().tolist() == [6, 10, 2]
    assert reader_of(with_prompts(Prompts(encoder, 3))) is None
    assert reader_of(with_prompts(None)) is None


def with_prompts(prompts) -> Any:
    return SimpleNamespace(prompts=prompts)
