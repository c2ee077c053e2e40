import pytest

from service.api.resolution import choose, resolve, sample_steps
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


def test_a_model_of_prompts_takes_any_text_and_none(prompt_card):
    for prompt, drawn in [("  A dragon, green ", "A dragon, green"), (" ", ""), (None, "")]:
        request = _resolve(prompt_card, prompt=prompt)
        assert (request.condition, request.subject, request.label) == (drawn, drawn, None)


def test_a_model_of_prompts_refuses_a_class_and_says_what_it_takes(prompt_card):
    refusal = r"class_label: got 'tiger'; allowed: none, text-test draws from a prompt"
    with pytest.raises(FieldsRejected, match=refusal):
        _resolve(prompt_card, prompt="a tiger", class_label="tiger")


def test_a_size_is_one_of_the_models_and_by_default_its_own(prompt_card):
    assert _resolve(prompt_card).size == 64
    assert _resolve(prompt_card, size="16x16").size == 16
    with pytest.raises(FieldsRejected, match="allowed: auto, 16x16, 32x32, 64x64"):
        _resolve(prompt_card, size="128x128")


def test_of_a_model_of_both_kinds_a_class_wins_over_a_prompt(card):
    both = card.model_copy(update={"conditioning": ("class", "prompt")})
    drawn = [
        _resolve(both, **fields).condition
        for fields in ({"class_label": "cat face", "prompt": "a dragon"}, {"prompt": "cat face"})
    ]
    assert drawn == [1, "cat face"]


def test_without_a_model_the_first_that_can_draw_it_is_chosen(card, prompt_card):
    cats = card.model_copy(update={"id": "cats", "classes": card.classes[1:2]})
    later = prompt_card.model_copy(update={"id": "text-zzz"})
    cards = [later, card, prompt_card, cats]

    def chosen(among=cards, **fields):
        return choose(ImageFields(**fields), among).id

    assert chosen(prompt="a dragon") == chosen() == prompt_card.id
    assert chosen(class_label="tiger face") == card.id
    assert chosen(class_label=0) == chosen(class_label=0, prompt="cat face") == "cats"
    assert chosen([cats, card], prompt="a tiger") == card.id
    assert chosen([cats, card], prompt="a dragon") == "cats"
    assert chosen([later, prompt_card], class_label="tiger face") == prompt_card.id


@pytest.mark.parametrize(("guidance", "rows"), [(1, 60), (1.0, 60), (0, 120), (1.5, 120)])
def test_the_cost_is_network_rows_over_all_images(card, guidance, rows):
    request = _resolve(card, class_label=0, n=3, steps=20, guidance=guidance)
    assert sample_steps(request, card) == rows


def test_rows_of_a_smaller_size_cost_in_proportion_and_never_nothing(prompt_card):
    sizes = {"sizes": (16, 64), "row_costs": {16: 0.125, 64: 1.0}}
    card = prompt_card.model_copy(update=sizes)

    def cost(**fields):
        return sample_steps(_resolve(card, guidance=1.0, **fields), card)

    assert (cost(steps=20, size="64x64"), cost(steps=20, size="16x16")) == (20, 3)
    assert cost(steps=1, size="16x16") == 1
