import pytest

from service.api.resolution import resolve, sample_steps
from service.api.schemas import ImageFields
from service.errors import FieldsRejected


def _resolve(card, **fields):
    return resolve(ImageFields(**fields), card, max_images=10)


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("tiger face", 0),
        ("a tiger face", 0),
        ("THE Tiger  Face ", 0),
        ("an  tiger", 0),
        ("a button (blood type)", 2),
        ("A button (blood type)", 2),
        ("the a button (blood type)", 2),
        ("Piñata", 3),
    ],
)
def test_a_prompt_names_a_class_with_or_without_an_article(card, prompt, label):
    assert _resolve(card, prompt=prompt).label == label


@pytest.mark.parametrize("prompt", ["atiger", "a", "a a tiger face", "tiger face cat face"])
def test_nothing_else_is_stripped_from_a_prompt(card, prompt):
    with pytest.raises(FieldsRejected, match="prompt"):
        _resolve(card, prompt=prompt)


def test_defaults_come_from_the_card(card):
    request = _resolve(card, class_label=1)
    assert (request.steps, request.guidance, request.sampler, request.size, request.n) == (
        *(20, 1.5, "dpmpp_2m", 32),
        1,
    )
    assert (request.format, request.quality, request.prompt) == ("png", None, None)


def test_bounds_are_inclusive(card):
    request = _resolve(card, class_label=0, n=8, steps=100, guidance=0, seed=2**63 - 8)
    assert (request.n, request.steps, request.guidance) == (8, 100, 0)


def test_random_seeds_differ_and_are_short(card):
    seeds = {_resolve(card, class_label=0).seed for _ in range(20)}
    assert len(seeds) > 10
    assert max(seeds) < 2**32


def test_a_model_without_classes_is_refused(card):
    with pytest.raises(FieldsRejected, match="classes"):
        _resolve(card.model_copy(update={"conditioning": ("prompt",)}), prompt="tiger")


@pytest.mark.parametrize(("guidance", "rows"), [(1, 60), (1.0, 60), (0, 120), (1.5, 120)])
def test_the_cost_is_network_rows_over_all_images(card, guidance, rows):
    assert sample_steps(_resolve(card, class_label=0, n=3, steps=20, guidance=guidance)) == rows
