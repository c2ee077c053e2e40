import pytest
from pydantic import ValidationError

from service.cards import ClassEntry, Defaults, Limits, ModelCard
from service.errors import RequestRejected


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        id="emoji",
        kind="dimr",
        conditioning=("class",),
        sizes=(64,),
        classes=(
            ClassEntry(index=0, name="grinning face"),
            ClassEntry(index=1, name="cat face", aliases=("cat", "Kätzchen")),
            ClassEntry(index=2, name="red heart", aliases=("love",)),
        ),
        samplers=("dpm++",),
        limits=Limits(),
        defaults=Defaults(steps=20, guidance=2.0, sampler="dpm++", size=64),
    )


@pytest.mark.parametrize("value", [1, "cat face", "cat", "CAT FACE", "  cat \t face ", "KÄTZCHEN"])
def test_a_class_is_found_by_index_name_or_alias(card: ModelCard, value: int | str) -> None:
    assert card.class_index("class_label", value) == 1


@pytest.mark.parametrize("value", [-1, 3, 10**9])
def test_an_index_out_of_range_is_refused_with_the_range(card: ModelCard, value: int) -> None:
    with pytest.raises(RequestRejected, match=r"class_label: got -?\d+; allowed: 0 to 2"):
        card.class_index("class_label", value)


def test_a_misspelt_name_is_refused_with_the_nearest_ones(card: ModelCard) -> None:
    with pytest.raises(RequestRejected, match="nearest: red heart") as refused:
        card.class_index("class_label", "red hart")

    assert (refused.value.field, refused.value.value) == ("class_label", "red hart")


def test_a_name_like_no_other_is_refused_without_a_guess(card: ModelCard) -> None:
    with pytest.raises(RequestRejected, match="one of the 3 classes of emoji") as refused:
        card.class_index("class_label", "zzzzzz")

    assert "nearest" not in str(refused.value)


def test_a_name_wins_over_an_equal_alias_of_another_class(card: ModelCard) -> None:
    classes = (
        ClassEntry(index=0, name="bird", aliases=("crane",)),
        ClassEntry(index=1, name="crane"),
        ClassEntry(index=2, name="machine", aliases=("crane", "bird")),
    )
    ambiguous = card.model_copy(update={"classes": classes})

    found = [ambiguous.class_index("class_label", word) for word in ("bird", "crane")]

    assert found == [0, 1]


def test_a_card_survives_its_journey_as_json(card: ModelCard) -> None:
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_a_card_cannot_be_changed(card: ModelCard) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        card.id = "other"  # type: ignore[misc]


def test_a_model_of_prompts_has_no_classes_and_one_of_classes_no_prompts(card: ModelCard) -> None:
    of_prompts = card.model_copy(update={"conditioning": ("prompt",), "classes": ()})

    card.check_condition(2)
    of_prompts.check_condition("a dragon")

    with pytest.raises(RequestRejected, match="class_label: got 0; allowed: none, emoji draws"):
        of_prompts.check_condition(0)
    with pytest.raises(RequestRejected, match="class_label: got 3; allowed: 0 to 2"):
        card.check_condition(3)
    with pytest.raises(RequestRejected, match="model: got 'emoji'") as refused:
        card.check_condition("a dragon")
    assert "dragon" not in str(refused.value)
