"""Bundles small enough to sample within a test, with networks on which everything has effect."""

import pytest
import torch

from model.bundle import load_bundle, write_bundle
from model.denoisers.build import build_denoiser
from model.specs.recipe import Recipe
from model.specs.text import MiniLMSpec
from model.text.open import open_encoder
from model.text.prompts import Prompts

COMMON = {
    "description": "for tests",
    "licence": "Apache-2.0",
    "training": {"steps": 1, "batch": 1, "optimiser": {"rate": 1e-3}},
}
PROCESS = {
    "codec": {"kind": "pixels"},
    "schedule": {"kind": "cosine"},
    "prediction": "velocity",
    "t_min": 0.01,
    "t_max": 0.99,
}


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    recipe = Recipe.model_validate(
        COMMON
        | {
            "id": "tiny",
            "data": {"kind": "emoji", "concepts": ["a", "b", "c"], "size": 16},
            "network": {
                "kind": "dimr",
                "size": 8,
                "channels": 12,
                "classes": 3,
                "stages": [
                    {"kind": "transformer", "dim": 32, "blocks": 3, "hidden": 64, "heads": 2}
                    | {"patch": 2},
                    {"kind": "convnext", "dim": 24, "blocks": 3, "hidden": 48, "kernel": 3},
                ],
            },
            "process": PROCESS | {"codec": {"kind": "pixels", "factor": 2}},
        }
    )
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle(folder, recipe, trained(recipe, 0.05), ("a", "b", "c"), steps=0)
    return load_bundle(folder)


@pytest.fixture(scope="session")
def layered_bundle(tmp_path_factory):
    """Prompts to images of 8, 16 and 32 pixels; the last data prediction is the image."""
    recipe = Recipe.model_validate(
        COMMON
        | {
            "id": "tiny-layered",
            "data": {"kind": "captioned-emoji", "concepts": ["a", "b"], "size": 32},
            "network": {
                "kind": "layered",
                "scales": [8, 16, 32],
                "core": [
                    {"width": 16, "blocks": 1},
                    {"width": 16, "blocks": 1, "attention": True},
                ],
                "middle": 1,
                "outer": [{"width": 8, "blocks": 1}, {"width": 8, "blocks": 1}],
                "head_width": 8,
                "embedding": 16,
                "text": {"width": 384, "tokens": 6},
            },
            "process": PROCESS | {"scales": {"reference": 8}},
            "text": {"kind": "minilm"},
            "sampling": {"final": "clean"},
        }
    )
    prompts = Prompts(open_encoder(MiniLMSpec()), 6)
    folder = tmp_path_factory.mktemp("bundles") / "tiny-layered"
    write_bundle(folder, recipe, trained(recipe, 0.0), (), steps=0, prompts=prompts)
    return load_bundle(folder)


def trained(recipe, mean):
    """A network none of whose parts is as it starts."""
    torch.manual_seed(0)
    network = build_denoiser(recipe.network)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, mean, 0.15)
    return network
