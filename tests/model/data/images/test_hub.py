import io
from importlib import import_module

import pytest
from PIL import Image

from model.data.errors import ClassesRefused, ExampleUnreadable, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import Record
from model.data.images.hub import HubLocation, HubRecords, HubStream
from model.specs.data import OnBad

datasets = import_module("datasets")


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def png(level):
    content = io.BytesIO()
    Image.new("RGB", (12, 12), (level, level, level)).save(content, "PNG")
    return content.getvalue()


def table(*, label=None, labels=(0, 1, 1, 0)):
    kind = label or datasets.ClassLabel(names=["ant, emmet", "bee"])
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": png(10 * k), "path": None} for k in range(len(labels))],
            "label": list(labels),
            "extra": ["x"] * len(labels),
        },
        features=datasets.Features(
            {"image": datasets.Image(), "label": kind, "extra": datasets.Value("string")}
        ),
    )


@pytest.fixture
def saved(tmp_path):
    """What save_to_disk writes."""
    table().save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


@pytest.fixture
def parquet(tmp_path):
    """A folder of two files, as a repository of the Hub has them."""
    folder = tmp_path / "repository" / "data"
    folder.mkdir(parents=True)
    for part in range(2):
        half = table().select(range(2 * part, 2 * part + 2))
        half.to_parquet(str(folder / f"train-0000{part}-of-00002.parquet"))
    return folder.parent


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_a_local_data_set_is_read_by_index(kind, request):
    folder = request.getfixturevalue(kind)
    records = HubRecords("hf:x", HubLocation.parse(str(folder)))
    assert records.classes.names == ("ant", "bee")
    assert records.classes.aliases == {"ant": ("emmet",)}
    assert [records[k].label for k in range(len(records))] == [0, 1, 1, 0]
    assert records[2].content == png(20)
    assert records[2].where == "hf:x:2"


def test_a_stream_gives_every_row_once_over_the_shares(parquet):
    def labels(share, shares, epoch=0):
        place = HubLocation.parse(str(parquet))
        stream = HubStream("hf-stream:x", place, BadExamples(OnBad.STOP))
        found = stream.read(epoch=epoch, share=share, shares=shares)
        return [(r.content, r.label) for r in found if isinstance(r, Record)]

    everything = [(png(10 * k), label) for k, label in enumerate([0, 1, 1, 0])]
    assert sorted(labels(0, 1)) == sorted(everything)
    assert labels(0, 1) == labels(0, 1)
    for shares in (2, 3):
        parts = [row for share in range(shares) for row in labels(share, shares)]
        assert sorted(parts) == sorted(everything)
    assert len({tuple(labels(0, 1, epoch)) for epoch in range(6)}) > 1


def test_plain_numbers_are_classes_too(tmp_path):
    table(label=datasets.Value("int64"), labels=(0, 4, 1)).save_to_disk(str(tmp_path / "plain"))
    place = HubLocation.parse(str(tmp_path / "plain"))
    assert HubRecords("hf:x", place).classes.names == ("0", "1", "2", "3", "4")
    with pytest.raises(ClassesRefused, match="needs a class index"):
        HubStream("hf-stream:x", place, BadExamples(OnBad.STOP))
    index = Classes(tuple("abcde"))
    assert HubStream("x", place, BadExamples(OnBad.STOP), index).classes is index


def test_a_row_without_label_or_picture_is_named(tmp_path):
    rows = table(labels=(0, -1, 1)).to_dict()
    rows["image"][2] = None
    broken = datasets.Dataset.from_dict(rows, features=table().features)
    broken.save_to_disk(str(tmp_path / "broken"))
    records = HubRecords("hf:x", HubLocation.parse(str(tmp_path / "broken")))
    with pytest.raises(ExampleUnreadable, match="hf:x:1 cannot be used: its label is -1"):
        records[1]
    with pytest.raises(ExampleUnreadable, match="hf:x:2 cannot be used: it has no picture"):
        records[2]


def test_what_is_not_there_is_refused(saved, parquet, tmp_path):
    for text in (f"{parquet}#test", f"{tmp_path}/none", f"{parquet}?label=none"):
        with pytest.raises(LocationRefused, match="hf:x"):
            HubRecords("hf:x", HubLocation.parse(text))
    with pytest.raises(LocationRefused, match=r"its label column: got none; allowed: \?label="):
        HubRecords("hf:x", HubLocation.parse(f"{saved}?label=none"))


def test_columns_can_be_named(tmp_path):
    both = table().add_column("fine", [1, 1, 0, 0])
    both = both.cast_column("fine", datasets.ClassLabel(names=["x", "y"]))
    both.save_to_disk(str(tmp_path / "both"))
    with pytest.raises(LocationRefused, match="its label column: got label, fine"):
        HubRecords("hf:x", HubLocation.parse(str(tmp_path / "both")))
    records = HubRecords("hf:x", HubLocation.parse(f"{tmp_path}/both?label=fine&image=image"))
    assert [records[k].label for k in range(4)] == [1, 1, 0, 0]


def test_a_location_names_revision_split_and_configuration():
    assert HubLocation.parse("a/b") == HubLocation("a/b", None, "train", None)
    place = HubLocation.parse("a/b@v1#test?config=big&label=fine")
    assert place == HubLocation("a/b", "v1", "test", "big", None, "fine")


@pytest.mark.parametrize("text", ["", "#test", "a/b?colour=red"])
def test_other_locations_are_refused(text):
    with pytest.raises(LocationRefused, match="allowed: NAME"):
        HubLocation.parse(text)
