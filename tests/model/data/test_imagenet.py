"""ImageNet's classes: in the order of their synsets, each word for one of them."""

import re

import pytest

from model.data.imagenet.classes import imagenet_classes


@pytest.fixture(scope="module")
def classes():
    return imagenet_classes()


def test_there_are_a_thousand_in_the_order_of_their_synsets(classes):
    assert len(classes.names) == 1000
    assert list(classes.keys) == sorted(set(classes.keys))
    assert all(re.fullmatch(r"n\d{8}", key) for key in classes.keys)


@pytest.mark.parametrize(
    ("index", "key", "name"),
    [
        (0, "n01440764", "tench"),
        (1, "n01443537", "goldfish"),
        (207, "n02099601", "golden retriever"),
        (281, "n02123045", "tabby"),
        (360, "n02444819", "otter"),
        (388, "n02510455", "giant panda"),
        (417, "n02782093", "balloon"),
        (974, "n09288635", "geyser"),
        (979, "n09468604", "valley"),
        (980, "n09472597", "volcano"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_well_known_classes_are_where_they_belong(classes, index, key, name):
    assert (classes.keys[index], classes.names[index]) == (key, name)


def test_no_word_stands_for_two_classes(classes):
    aliases = [alias for name in classes.names for alias in classes.aliases.get(name, ())]
    words = [word.casefold() for word in (*classes.names, *aliases)]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (134, "crane (bird)"),
        (517, "crane (machine)"),
        (638, "maillot (tights)"),
        (639, "maillot (tank suit)"),
        (264, "Cardigan Welsh corgi"),
        (474, "cardigan"),
    ],
)
def test_shared_names_are_told_apart(classes, index, name):
    assert classes.names[index] == name


def test_a_word_that_one_class_owns_is_its_alias(classes):
    assert "panda" in classes.aliases["giant panda"]
    assert "tabby cat" in classes.aliases["tabby"]
