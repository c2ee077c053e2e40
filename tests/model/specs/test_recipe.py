"""Settings of a recipe that would have no effect, or leave nothing to learn."""

import pytest
from pydantic import ValidationError

from model.specs.recipe import Recipe


@pytest.fixture
def recipe_of():
    """A layered recipe of these scales with other values of its training."""

    def make(*scales, **training):
        level = {"width": 16, "blocks": 1}
        return Recipe.model_validate(
            {
                "id": "x",
                "description": "for tests",
                "licence": "Apache-2.0",
                "data": {"kind": "captioned-emoji", "concepts": ["star"], "size": scales[-1]},
                "network": {
                    "kind": "layered",
                    "scales": scales,
                    "core": [level],
                    "middle": 0,
                    "outer": [level] * (len(scales) - 1),
                    "embedding": 16,
                    "text": {"width": 384, "tokens": 8},
                },
                "process": {
                    "schedule": {"kind": "cosine"},
                    "scales": {},
                    "prediction": "velocity",
                    "t_min": 0.01,
                    "t_max": 1.0,
                },
                "text": {"kind": "minilm"},
                "training": {"steps": 1, "batch": 1, "optimiser": {"rate": 1e-3}} | training,
            }
        )

    return make


@pytest.mark.parametrize(
    ("scales", "training", "complaint"),
    [
        (
            (8,),
            {"crop": {"side": 4}},
            "training.crop: got a side of 4 with the one scale (8,); allowed: with two scales",
        ),
        ((8, 16), {"crop": {"side": 9}}, "training.crop.side: got 9; allowed: at most 8"),
        (
            (8, 16),
            {"scale_weights": [0, 0]},
            "training.scale_weights: got (0.0, 0.0) with loss 'multi-scale'; allowed: above 0",
        ),
        ((8,), {"scale_weights": [0]}, "training.scale_weights: got (0.0,) with loss"),
        (
            (8, 16),
            {"scale_weights": [1, 0], "loss": "last"},
            "training.scale_weights: got (1.0, 0.0) with loss 'last'; allowed: above 0 for a scale",
        ),
        ((8, 16), {"scale_weights": [1]}, "training.scale_weights: got 1 numbers; allowed: one"),
    ],
    ids=["crop of one", "crop too large", "no weight", "one of none", "none held", "too few"],
)
def test_training_that_has_no_effect_is_refused(recipe_of, scales, training, complaint):
    with pytest.raises(ValidationError) as refused:
        recipe_of(*scales, **training)
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("scales", "training"),
    [
        ((8, 16), {"crop": {"side": 4}}),
        ((8, 16), {"scale_weights": [0, 0.5]}),
        ((8, 16), {"scale_weights": [1, 0]}),
        ((8, 16), {"scale_weights": [0, 1], "loss": "last"}),
        ((8,), {"scale_weights": [2]}),
        ((8,), {}),
    ],
)
def test_training_that_has_an_effect_is_taken(recipe_of, scales, training):
    assert recipe_of(*scales, **training).network.sides == scales
