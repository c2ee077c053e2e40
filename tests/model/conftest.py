"""A recipe small enough to train within a test."""

import pytest
import torch

from model.specs.recipe import Recipe
from model.specs.text import MiniLMSpec
from model.text.open import open_encoder
from model.text.prompts import Prompts
from model.training.data import CaptionedTensors, LabelledTensors


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


@pytest.fixture
def layered_recipe():
    """Three scales, of a network that trains within a test."""
    return Recipe.model_validate(
        {
            "id": "tiny-layered",
            "description": "for tests",
            "licence": "Apache-2.0",
            "data": {"kind": "captioned-emoji", "concepts": ["star", "red apple"], "size": 32},
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
                "text": {"width": 384, "tokens": 8},
            },
            "process": {
                "schedule": {"kind": "cosine"},
                "scales": {"reference": 32},
                "prediction": "velocity",
                "t_min": 0.01,
                "t_max": 1.0,
            },
            "text": {"kind": "minilm"},
            "training": {
                "steps": 6,
                "batch": 4,
                "optimiser": {"rate": 1e-3, "warmup_steps": 2, "clip_norm": 1.0, "ema": 0.5},
            },
            "sampling": {"final": "clean", "steps": 2},
        }
    )


@pytest.fixture
def captioned_data():
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(5, 3, 32, 32, generator=generator) * 2 - 1
    return CaptionedTensors(x, (("star",), ("a star",), ("red apple", "an apple"), ("",), ("fox",)))


@pytest.fixture(scope="session")
def prompts():
    """The encoder that the shipped model has, reading eight tokens."""
    return Prompts(open_encoder(MiniLMSpec()), 8)
