"""ONNX Runtime in place of the network: the same slots, the same pictures, its own kernels."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from export.graph.parts import denoiser_parts
from export.runtime.build import build_engine
from export.runtime.onnx import OnnxNetwork, OnnxPart, open_session
from export.runtime.refusal import EngineRefused
from model.bundle import put_files, read_manifest
from model.sampling.images import ImageRequest, generate

SHIPPED = Path(__file__).parents[3] / "deploy" / "models"
CLASSES = [
    ImageRequest(condition=0, seed=11, steps=6, sampler="dpmpp_2m", guidance=1.0, size=16),
    ImageRequest(condition=1, seed=11, steps=9, sampler="dpmpp_3s", guidance=3.0, size=16),
    ImageRequest(condition=2, seed=5, steps=4, sampler="ddim", guidance=1.5, size=16),
    ImageRequest(condition=2, seed=6, steps=7, sampler="dpmpp_3m", guidance=0.0, size=16),
]


@pytest.fixture(scope="module")
def engine(tiny_folder):
    return build_engine(tiny_folder, device="cpu", capacity=4, engine="onnx")


def run(engine, requests):
    """Step all together; images in request order."""
    for slot, request in enumerate(requests):
        engine.admit(slot, **dataclasses.asdict(request))
    images, running = {}, set(range(len(requests)))
    while running:
        for slot in engine.step(sorted(running)):
            images[slot] = engine.take(slot)
            running.remove(slot)
    return [images[slot] for slot in range(len(requests))]


@pytest.mark.parametrize("neighbours", [1, 2, 3])
def test_an_image_is_bit_equal_alone_and_among_unlike_neighbours(engine, neighbours):
    together = run(engine, CLASSES[: neighbours + 1])
    for request, image in zip(CLASSES, together, strict=False):
        (alone,) = run(engine, [request])
        np.testing.assert_array_equal(image, alone)


def test_the_engine_draws_what_pytorch_draws(engine, tiny_bundle):
    for request, image in zip(CLASSES, run(engine, CLASSES), strict=True):
        (expected,) = generate(tiny_bundle, [request], batch=1)
        assert np.abs(image.astype(int) - expected).max() <= 1
        assert expected.std() > 10


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_part_of_as_many_scales_as_are_given_is_called(layered_folder, layered_bundle, depth):
    """By graphs that predict half of what they are given."""
    graphs = sorted((layered_folder / "engines" / "onnx-fp32").glob("*.onnx"))
    parts = denoiser_parts(layered_bundle.network)
    sessions = [open_session(g, [*p.inputs], threads=1) for g, p in zip(graphs, parts, strict=True)]
    network = OnnxNetwork([OnnxPart(session) for session in sessions])
    xs = [torch.randn(2, 3, side, side) for side in (8, 16, 32)[:depth]]
    condition = layered_bundle.prompts.states(["red apple", ""])
    found = network(xs, torch.rand(2), *condition)
    assert len(found) == depth
    for half, x in zip(found, xs, strict=True):
        assert torch.equal(half, x / 2)


def test_graphs_that_predict_something_else_than_pytorch_are_refused(layered_folder):
    with pytest.raises(
        EngineRefused, match=r"something else than PyTorch: denoiser-1 of 2 rows; run: .*overwrite$"
    ):
        build_engine(layered_folder, device="cpu", capacity=1, engine="onnx")
    facts: Any = build_engine(layered_folder, device="cpu", capacity=1).card["engine"]
    assert facts["backend"] == "pytorch"
    assert "something else than PyTorch" in facts["why"]


def test_a_graph_that_onnx_runtime_cannot_run_is_refused(tiny_folder, tmp_path):
    """Its batch is fixed, which shows in a call alone."""
    folder = shutil.copytree(tiny_folder, tmp_path / "fixed")
    manifest = read_manifest(folder)
    (entry,) = manifest.engines
    graph = onnx.load(folder / entry.file)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    manifest = put_files(folder, manifest, {entry.file: graph.SerializeToString()})
    with pytest.raises(EngineRefused, match=r"Got: 2 Expected: 1.*; run: dimr-export build "):
        build_engine(folder, device="cpu", capacity=1, engine="onnx")


def test_images_of_every_size_come_from_a_layered_engine():
    engine = build_engine(SHIPPED / "emoji-layered-64", device="cpu", capacity=3, engine="onnx")
    wanted = ImageRequest(
        condition="red apple", seed=1, steps=2, sampler="ddim", guidance=2.0, size=8
    )
    requests = [dataclasses.replace(wanted, size=size) for size in (16, 32, 64)]
    assert [image.shape for image in run(engine, requests)] == [
        (size, size, 3) for size in (16, 32, 64)
    ]


def test_the_threads_of_the_worker_are_those_of_the_engine(tiny_folder):
    present = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        engine = build_engine(tiny_folder, device="cpu", capacity=1, engine="onnx")
    finally:
        torch.set_num_threads(present)
    network = engine._backend.network
    assert isinstance(network, OnnxNetwork)
    (part,) = network._parts
    assert part._session.get_session_options().intra_op_num_threads == 3
    facts = engine.card["engine"]
    assert isinstance(facts, dict)
    assert facts["threads"] == 3
