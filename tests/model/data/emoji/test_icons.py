import pytest

from model.data.emoji.icons import IconSet, codepoint_key
from model.data.errors import IconUnusable


@pytest.mark.parametrize(
    ("sequence", "key"),
    [
        ("1F34E", "1f34e"),
        ("0023-FE0F-20E3", "23-20e3"),
        ("2600-fe0f", "2600"),
        ("1f426-200d-1f525", "1f426-200d-1f525"),
    ],
)
def test_every_spelling_of_an_emoji_has_one_key(sequence: str, key: str) -> None:
    assert codepoint_key(sequence) == key


def test_an_alias_draws_what_its_parent_draws() -> None:
    icons = IconSet(
        {
            "icons": {"apple": {"body": "<path/>", "width": 4, "height": 4}},
            "aliases": {"fruit": {"parent": "apple"}, "food": {"parent": "fruit"}},
        }
    )
    assert icons.svg("food") == icons.svg("apple")
    assert "food" in icons


def test_the_nearest_alias_overrides_the_size_of_its_parents() -> None:
    icons = IconSet(
        {
            "icons": {"a": {"body": "<path/>", "width": 4, "height": 4}},
            "aliases": {
                "b": {"parent": "a", "width": 8, "height": 8},
                "c": {"parent": "b", "width": 6, "height": 6},
            },
        }
    )
    assert 'viewBox="0 0 6 6"' in icons.svg("c")


def test_a_size_is_the_icons_own_or_else_the_sets() -> None:
    icons = IconSet(
        {
            "width": 32,
            "height": 32,
            "icons": {"plain": {"body": ""}, "own": {"body": "", "width": 64, "height": 64}},
        }
    )
    assert 'viewBox="0 0 32 32"' in icons.svg("plain")
    assert 'viewBox="0 0 64 64"' in icons.svg("own")


@pytest.mark.parametrize(
    ("fields", "view_box"),
    [
        ({"width": 32, "height": 33}, "-0.5 0 33 33"),
        ({"width": 40, "height": 32}, "0 -4 40 40"),
        ({"left": 2, "top": 3, "width": 4, "height": 8}, "0 3 8 8"),
    ],
)
def test_a_view_box_that_is_not_square_grows_about_its_centre(
    fields: dict[str, int], view_box: str
) -> None:
    icons = IconSet({"icons": {"a": {"body": "", **fields}}})
    assert f'viewBox="{view_box}"' in icons.svg("a")


@pytest.mark.parametrize(
    ("aliases", "reason"),
    [
        ({}, "the set has no 'pear'"),
        ({"pear": {"parent": "fruit"}}, "the set has no 'fruit'"),
        ({"pear": {"parent": "apple", "hFlip": True}}, "needs hFlip"),
        ({"pear": {"parent": "pear"}}, "aliases deep"),
    ],
)
def test_an_icon_that_cannot_be_resolved_says_which_and_why(
    aliases: dict[str, dict[str, object]], reason: str
) -> None:
    icons = IconSet({"icons": {"apple": {"body": ""}}, "aliases": aliases})
    with pytest.raises(IconUnusable, match=rf"'pear' cannot be used: .*{reason}"):
        icons.svg("pear")
