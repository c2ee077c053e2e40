"""A bundle small enough to sample within a test, with a network on which everything has effect."""

import pytest
import torch

from model.bundle import load_bundle, write_bundle
from model.denoisers.build import build_denoiser
from model.specs.recipe import Recipe


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    recipe = Recipe.model_validate(
        {
            "id": "tiny",
            "description": "for tests",
            "licence": "Apache-2.0",
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
            "process": {
                "codec": {"kind": "pixels", "factor": 2},
                "schedule": {"kind": "cosine"},
                "prediction": "velocity",
                "t_min": 0.01,
                "t_max": 0.99,
            },
            "training": {"steps": 1, "batch": 1, "optimiser": {"rate": 1e-3}},
        }
    )
    torch.manual_seed(0)
    network = build_denoiser(recipe.network)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.05, 0.15)
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle(folder, recipe, network, ("a", "b", "c"), steps=0)
    return load_bundle(folder)
