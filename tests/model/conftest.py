"""A recipe small enough to train within a test."""

import pytest
import torch

from model.specs.recipe import Recipe
from model.training.data import LabelledTensors


@pytest.fixture
def tiny_recipe():
    return Recipe.model_validate(
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
                    {"kind": "transformer", "dim": 16, "blocks": 1, "hidden": 16, "heads": 2}
                    | {"patch": 2},
                    {"kind": "convnext", "dim": 8, "blocks": 1, "hidden": 8, "kernel": 3},
                ],
            },
            "process": {
                "codec": {"kind": "pixels", "factor": 2},
                "schedule": {"kind": "cosine"},
                "prediction": "velocity",
                "t_min": 0.01,
                "t_max": 0.99,
            },
            "training": {
                "steps": 6,
                "batch": 4,
                "optimiser": {
                    "rate": 1e-3,
                    "warmup_steps": 2,
                    "tail": 0.5,
                    "clip_norm": 1.0,
                    "ema": 0.5,
                },
            },
        }
    )


@pytest.fixture
def tiny_data():
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(5, 12, 8, 8, generator=generator) * 2 - 1
    return LabelledTensors(x, torch.tensor([0, 0, 1, 2, 2]), ("a", "b", "c"))
