import json

import pytest

from model.data.errors import ClassesRefused, ExampleUnreadable
from model.data.images.classes import Classes, folder_classes, numbered_classes, read_class_index

INDEXES = {
    "imagenet.json": json.dumps({"1": ["n02", "gold_fish"], "0": ["n01", "tench"]}),
    "labels.json": json.dumps([{"name": "tench", "aliases": ["Tinca"]}, {"name": "gold fish"}]),
    "names.json": json.dumps(["tench", "gold fish"]),
    "names.txt": "tench, Tinca\n\ngold fish\n",
    "synsets.txt": "n00000001 tench, Tinca\nn00000002 gold fish\n",
}


@pytest.mark.parametrize("name", INDEXES)
def test_every_common_form_of_a_class_index_is_read(name, tmp_path):
    (tmp_path / name).write_text(INDEXES[name])
    classes = read_class_index(tmp_path / name)
    assert classes.names == ("tench", "gold fish")
    assert len(classes.keys) == (2 if name in {"imagenet.json", "synsets.txt"} else 0)
    if "Tinca" in INDEXES[name]:
        assert classes.aliases == {"tench": ("Tinca",)}


def test_a_name_that_two_classes_share_is_told_apart(tmp_path):
    path = tmp_path / "synsets.txt"
    path.write_text("n00000001 crane, bird\nn00000002 crane, lifter\nn00000003 boat, crane\n")
    classes = read_class_index(path)
    assert classes.names == ("crane (n00000001)", "crane (n00000002)", "boat")
    assert classes.aliases == {
        "crane (n00000001)": ("bird",),
        "crane (n00000002)": ("lifter",),
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.json", "{"),
        ("x.json", "[]"),
        ("x.json", "3"),
        ("x.json", '{"1": ["n01", "tench"]}'),
        ("x.json", '[{"title": "tench"}]'),
        ("x.json", '["tench", ""]'),
        ("x.json", '[{"name": 3}]'),
        ("x.json", '[{"name": "a", "key": "k"}, {"name": "b"}]'),
        ("x.txt", ""),
        ("x.txt", "tench,,\n"),
        ("x.txt", "n00000001 a\nn00000001 b\n"),
    ],
)
def test_what_is_no_class_index_is_refused_by_name(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ClassesRefused, match=name):
        read_class_index(tmp_path / name)


def test_a_missing_class_index_is_refused(tmp_path):
    with pytest.raises(ClassesRefused, match="no-index"):
        read_class_index(tmp_path / "no-index")


@pytest.mark.parametrize(("said", "label"), [(1, 1), ("1", 1), (" 0\n", 0), ("n02", 1)])
def test_a_label_is_an_index_or_a_key(said, label):
    assert Classes(("tench", "gold fish"), keys=("n01", "n02")).label("x", said) == label


@pytest.mark.parametrize("said", [None, -1, "-1", 2, "2", 1.0, True, "", "tench", "1e0", [1], "٣"])
def test_any_other_label_is_named_and_refused(said):
    with pytest.raises(ExampleUnreadable, match="shard:7"):
        Classes(("tench", "gold fish"), keys=("n01", "n02")).label("shard:7", said)


def test_folders_are_named_by_their_keys():
    index = Classes(("tench", "ray", "hen"), {"hen": ("chicken",)}, ("n01", "n02", "n03"))
    classes = folder_classes("x", ["n01", "n03"], index)
    assert classes.names == ("tench", "hen")
    assert classes.aliases == {"hen": ("chicken",)}


def test_an_index_without_keys_names_folders_in_order():
    assert folder_classes("x", ["0", "1"], Classes(("a", "b"))).names == ("a", "b")


def test_an_index_that_does_not_fit_the_folders_is_refused():
    with pytest.raises(ClassesRefused, match="no entry for folder 'n09'"):
        folder_classes("x", ["n01", "n09"], Classes(("a", "b"), keys=("n01", "n02")))
    with pytest.raises(ClassesRefused, match="has 2; there are 3 folders"):
        folder_classes("x", ["0", "1", "2"], Classes(("a", "b")))


def test_numbered_classes_go_up_to_the_largest_label():
    assert numbered_classes("x", [0, 3]).names == ("0", "1", "2", "3")


@pytest.mark.parametrize("labels", [[], [999_999_999]])
def test_labels_that_cannot_number_classes_are_refused(labels):
    with pytest.raises(ClassesRefused, match="classes of x"):
        numbered_classes("x", labels)
