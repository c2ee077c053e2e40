import logging

import pytest

from model.data.errors import ClassesRefused, ExampleUnreadable, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.folder import FolderRecords
from model.specs.data import OnBad


@pytest.fixture
def strict():
    return BadExamples(OnBad.STOP)


@pytest.fixture
def lenient():
    return BadExamples(OnBad.SKIP)


def test_classes_are_the_sorted_folders_and_pictures_the_sorted_paths(photo_tree, strict):
    records = FolderRecords(photo_tree, strict)
    assert records.classes.names == ("ant", "bee")
    found = [records[k] for k in range(len(records))]
    names = [record.where.removeprefix(f"{photo_tree}/") for record in found]
    assert names == ["ant/1.jpg", "ant/2.jpg", "bee/1.JPEG", "bee/3.webp", "bee/more/2.png"]
    assert [record.label for record in found] == [0, 0, 1, 1, 1]
    assert found[4].content == (photo_tree / "bee/more/2.png").read_bytes()


def test_a_class_index_names_the_folders(photo_tree, strict):
    index = Classes(("wasp", "honey bee", "Ant"), keys=("wasp", "bee", "ant"))
    assert FolderRecords(photo_tree, strict, index).classes.names == ("Ant", "honey bee")
    with pytest.raises(ClassesRefused, match="folder 'bee'"):
        FolderRecords(photo_tree, strict, Classes(("Ant",), keys=("ant",)))


def test_a_class_folder_may_be_a_link(photo_tree, strict, tmp_path):
    (photo_tree / "ant").rename(tmp_path / "elsewhere")
    (photo_tree / "ant").symlink_to(tmp_path / "elsewhere")
    assert len(FolderRecords(photo_tree, strict)) == 5


def test_an_empty_class_stops_or_keeps_its_index(photo_tree, strict, lenient):
    (photo_tree / "arc").mkdir()
    with pytest.raises(ExampleUnreadable, match="arc cannot be used: the class has no picture"):
        FolderRecords(photo_tree, strict)
    records = FolderRecords(photo_tree, lenient)
    assert records.classes.names == ("ant", "arc", "bee")
    assert [records[k].label for k in range(5)] == [0, 0, 2, 2, 2]
    assert list(lenient.reasons) == [str(photo_tree / "arc")]


def test_a_picture_outside_a_class_is_named(photo_tree, strict, lenient):
    stray = photo_tree / "stray.jpg"
    stray.write_bytes(b"")
    with pytest.raises(ExampleUnreadable, match="lies in no class folder"):
        FolderRecords(photo_tree, strict)
    assert len(FolderRecords(photo_tree, lenient)) == 5
    assert list(lenient.reasons) == [str(stray)]


def test_a_picture_that_vanished_is_named(photo_tree, strict):
    records = FolderRecords(photo_tree, strict)
    (photo_tree / "ant/1.jpg").unlink()
    with pytest.raises(ExampleUnreadable, match=r"ant/1\.jpg cannot be used: No such file"):
        records[0]


def test_a_folder_without_classes_or_pictures_is_refused(tmp_path, strict, lenient):
    with pytest.raises(LocationRefused, match="no class folders"):
        FolderRecords(tmp_path, strict)
    (tmp_path / "ant").mkdir()
    with pytest.raises(LocationRefused, match="hold no picture"):
        FolderRecords(tmp_path, lenient)
    with pytest.raises(LocationRefused, match="No such file"):
        FolderRecords(tmp_path / "none", strict)


def test_each_bad_example_is_logged_once_by_name(lenient, caplog):
    with caplog.at_level(logging.WARNING):
        for where in ("a.jpg", "b.jpg", "a.jpg"):
            lenient.meet(ExampleUnreadable(where, "the file is empty"))
    assert [record.getMessage() for record in caplog.records] == [
        "example left out: a.jpg: the file is empty",
        "example left out: b.jpg: the file is empty",
    ]
    assert dict(lenient.reasons) == dict.fromkeys(["a.jpg", "b.jpg"], "the file is empty")
