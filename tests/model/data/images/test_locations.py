import sys

import pytest

from model.data.errors import ClassesRefused, ExtraMissing, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.folder import FolderRecords
from model.data.images.locations import open_captioned_records, open_images, open_records
from model.data.images.shards import CaptionedShardRecords, ShardRecords
from model.data.images.sidecars import SidecarRecords
from model.data.images.sources import ImageSource, ImageStream
from model.data.images.streams import ShardStream
from model.specs.data import CaptionedImagesData, ImagesData, OnBad


@pytest.fixture
def strict():
    return BadExamples(OnBad.STOP)


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("ant\nbee\ncow\n")
    return path


def test_a_folder_of_class_folders_is_a_source(photo_tree, strict):
    assert isinstance(open_records(str(photo_tree), strict), FolderRecords)
    source = open_images(str(photo_tree), ImagesData(size=8))
    assert isinstance(source, ImageSource)
    assert [source[k].label for k in range(len(source))] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "pattern", ["{0}", "{0}/train-*.tar", "{0}/train-{{0..2}}.tar", "{0}/train-{{0,1,2}}.tar"]
)
def test_local_shards_are_a_source(pattern, shards, strict):
    records = open_records(pattern.format(shards[0].parent), strict)
    assert isinstance(records, ShardRecords)
    assert len(records) == 12


@pytest.mark.parametrize("pattern", ["pipe:cat {0}/train-{{0..2}}.tar", "file://{0}/train-0.tar"])
def test_shards_behind_a_scheme_are_a_stream(pattern, shards, names, strict):
    location = pattern.format(shards[0].parent)
    assert isinstance(open_records(location, strict, class_index=names), ShardStream)
    stream = open_images(location, ImagesData(size=8), class_index=names)
    assert isinstance(stream, ImageStream)
    found = [example.label for example in stream.read(epoch=0, share=0, shares=1)]
    assert len(found) == (12 if "pipe" in pattern else 4)
    with pytest.raises(ClassesRefused, match="need a class index"):
        open_images(location, ImagesData(size=8))


def test_compressed_local_shards_are_a_stream(write_shard, picture, names, strict):
    path = write_shard("x.tar.gz", {"a.png": picture, "a.cls": b"0"})
    assert isinstance(open_records(str(path), strict, class_index=names), ShardStream)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("{0}/none", "there is no {0}/none"),
        ("{0}/x-*.tar", "there is no {0}/x-"),
        ("{0}/x-{{0..1}}.tar", "there is no {0}/x-0.tar"),
        ("{0}/photo.png", "is no .tar shard"),
        ("hf:", "names no data set"),
    ],
)
def test_a_location_of_nothing_is_refused(location, reason, tmp_path, picture, strict):
    (tmp_path / "photo.png").write_bytes(picture)
    with pytest.raises(LocationRefused) as refusal:
        open_records(location.format(tmp_path), strict)
    assert reason.format(tmp_path) in str(refusal.value)


def test_the_policy_reaches_the_examples(photo_tree):
    (photo_tree / "ant" / "1.jpg").write_bytes(b"")
    source = open_images(str(photo_tree), ImagesData(size=8, on_bad=OnBad.SKIP))
    assert isinstance(source, ImageSource)
    assert len(source) == 5
    assert source[0].value.shape == (8, 8, 3)
    assert list(source.bad) == [str(photo_tree / "ant" / "1.jpg")]


@pytest.mark.parametrize(
    ("location", "package"), [("hf:a/b", "datasets"), ("pipe:cat x", "webdataset.shardlists")]
)
def test_a_missing_package_says_what_to_install(location, package, names, strict, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExtraMissing, match=r"pip install 'dimr-serve\[train\]'"):
        open_records(location, strict, class_index=names)


def test_captioned_places_open_as_labelled_ones_do(photo_tree, write_shard, picture, strict):
    for path in photo_tree.rglob("*.*"):
        if path.suffix != ".txt":
            path.with_suffix(".txt").write_text(f"a picture called {path.stem}")
    shard = write_shard("x.tar", {"a.png": picture, "a.txt": b"an owl"})
    stream = write_shard("y.tar.gz", {"a.png": picture, "a.txt": b"an owl"})
    for location, kind, count in (
        (str(photo_tree), SidecarRecords, 5),
        (str(shard), CaptionedShardRecords, 1),
        (str(shard.parent), CaptionedShardRecords, 1),
        (f"{shard.parent}/{{x,x}}.tar", CaptionedShardRecords, 2),
    ):
        records = open_captioned_records(location, strict)
        assert isinstance(records, kind)
        source = open_images(location, CaptionedImagesData(size=8))
        assert isinstance(source, ImageSource)
        assert (source.classes, source.aliases) == ((), {})
        examples = [source[k] for k in range(len(source))]
        assert len(examples) == count
        assert all(example.captions and example.label is None for example in examples)
        assert examples[0].value.shape == (8, 8, 3)
    for location in (str(stream), f"pipe:cat {shard}"):
        assert isinstance(open_captioned_records(location, strict), ShardStream)
        opened = open_images(location, CaptionedImagesData(size=8))
        assert isinstance(opened, ImageStream)
        (example,) = opened.read(epoch=0, share=0, shares=1)
        assert example.captions == ("an owl",)


def test_the_policy_reaches_captions(write_shard, picture):
    members = {"a.png": picture, "a.txt": b"\xff", "b.png": picture, "b.txt": b"an owl"}
    shard = write_shard("x.tar", members)
    source = open_images(str(shard), CaptionedImagesData(size=8, on_bad=OnBad.SKIP))
    assert isinstance(source, ImageSource)
    assert [source[k].captions for k in range(len(source))] == [("an owl",)] * 2
    assert list(source.bad) == [f"{shard}:a"]
