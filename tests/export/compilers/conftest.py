"""Bundles of networks that nobody shipped: three branches, odd widths, either norm in blocks."""

import shutil

import pytest
import torch

from export.compilers.build import build
from export.compilers.compiler import open_compiler
from export.compilers.options import Options, Silence
from export.graph.precision import Precision
from model.autoencoder import load_autoencoder
from model.bundle import write_bundle
from model.denoisers.build import build_denoiser
from model.specs.process import LatentsSpec
from model.specs.recipe import Recipe

THREE_BRANCHES = [
    {"kind": "transformer", "dim": 36, "blocks": 1, "hidden": 50, "patch": 4},
    {"kind": "convnext", "dim": 20, "blocks": 3, "hidden": 44, "kernel": 5, "patch": 2},
    {"kind": "convnext", "dim": 14, "blocks": 1, "hidden": 30, "kernel": 7},
]
ONE_BRANCH = [{"kind": "transformer", "dim": 32, "blocks": 1, "hidden": 64, "heads": 2, "patch": 2}]
PIXELS = {
    "data": {"kind": "emoji", "concepts": ["a", "b", "c"], "size": 16},
    "channels": 12,
    "codec": {"kind": "pixels", "factor": 2},
}
LATENTS = {"data": {"kind": "latents"}, "channels": 4, "codec": {"kind": "latents"}}
ONNX = Options(arch=None, precision=Precision.FP32, buckets=(2,))


def recipe_of(stages, form, ablation):
    return Recipe.model_validate(
        {
            "id": "tiny",
            "description": "for tests",
            "licence": "Apache-2.0",
            "data": form["data"],
            "training": {"steps": 1, "batch": 1, "optimiser": {"rate": 1e-3}},
            "network": {
                "kind": "dimr",
                "size": 8,
                "channels": form["channels"],
                "classes": 3,
                "stages": stages,
                **ablation,
            },
            "process": {
                "codec": form["codec"],
                "schedule": {"kind": "cosine"},
                "prediction": "velocity",
                "t_min": 0.01,
                "t_max": 0.99,
            },
            "sampling": {"sampler": "ddim", "grid": "time", "steps": 2, "guidance": 1.0},
        }
    )


def write(path, stages, form=PIXELS, autoencoder=None, **ablation):
    """A bundle of some stages, with weights that are not what they begin as."""
    recipe = recipe_of(stages, form, ablation)
    torch.manual_seed(0)
    network = build_denoiser(recipe.network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return write_bundle(path, recipe, network, "abc", steps=1, autoencoder=autoencoder)


@pytest.fixture
def three_branches(tmp_path):
    """Write a bundle of three branches: a norm in blocks, heads of some width, and a cascade."""

    def written(norm, width, cascade):
        tokens, *others = THREE_BRANCHES
        stages = [{**tokens, "heads": tokens["dim"] // width}, *others]
        return write(tmp_path / "bundle", stages, norm=norm, cascade=cascade)

    return written


@pytest.fixture
def latents(tmp_path, autoencoder_folder):
    """A bundle of latents, with the autoencoder that decodes them."""
    codec = load_autoencoder(str(autoencoder_folder), LatentsSpec())
    return write(tmp_path / "latents", ONE_BRANCH, form=LATENTS, autoencoder=codec)


@pytest.fixture
def folder(tmp_path):
    """A bundle of one branch, of pixels."""
    return write(tmp_path / "bundle", ONE_BRANCH)


@pytest.fixture
def onnx_options():
    return ONNX


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("built") / "bundle", ONE_BRANCH)
    build(path, open_compiler("onnx"), ONNX, Silence())
    return path


@pytest.fixture
def with_onnx(built_once, tmp_path):
    """That bundle with an engine in it, built with `onnx_options`."""
    return shutil.copytree(built_once, tmp_path / "with-onnx")


@pytest.fixture
def options():
    return Options(arch="sm80", precision=Precision.FP16, buckets=(2,))
