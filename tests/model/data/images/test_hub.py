import io
from importlib import import_module

import pytest
from PIL import Image

from model.data.errors import ClassesRefused, ExampleUnreadable, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import Record
from model.data.images.hub import (
    captioned_records,
    captioned_stream,
    labelled_records,
    labelled_stream,
)
from model.data.images.tables import HubLocation
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
    records = labelled_records("hf:x", HubLocation.parse(str(folder)))
    assert records.classes.names == ("ant", "bee")
    assert records.classes.aliases == {"ant": ("emmet",)}
    assert [records[k].label for k in range(len(records))] == [0, 1, 1, 0]
    assert records[2].content == png(20)
    assert records[2].where == "hf:x:2"


def test_a_stream_gives_every_row_once_over_the_shares(parquet):
    def labels(share, shares, epoch=0):
        place = HubLocation.parse(str(parquet))
        stream = labelled_stream("hf-stream:x", place, BadExamples(OnBad.STOP))
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
    assert labelled_records("hf:x", place).classes.names == ("0", "1", "2", "3", "4")
    with pytest.raises(ClassesRefused, match="needs a class index"):
        labelled_stream("hf-stream:x", place, BadExamples(OnBad.STOP))
    index = Classes(tuple("abcde"))
    assert labelled_stream("x", place, BadExamples(OnBad.STOP), index).classes is index


def test_a_row_without_label_or_picture_is_named(tmp_path):
    rows = table(labels=(0, -1, 1)).to_dict()
    rows["image"][2] = None
    broken = datasets.Dataset.from_dict(rows, features=table().features)
    broken.save_to_disk(str(tmp_path / "broken"))
    records = labelled_records("hf:x", HubLocation.parse(str(tmp_path / "broken")))
    with pytest.raises(ExampleUnreadable, match="hf:x:1 cannot be used: its label is -1"):
        records[1]
    with pytest.raises(ExampleUnreadable, match="hf:x:2 cannot be used: it has no picture"):
        records[2]


def test_what_is_not_there_is_refused(saved, parquet, tmp_path):
    for text in (f"{parquet}#test", f"{tmp_path}/none", f"{parquet}?label=none"):
        with pytest.raises(LocationRefused, match="hf:x"):
            labelled_records("hf:x", HubLocation.parse(text))
    with pytest.raises(LocationRefused, match=r"its label column: got none; allowed: \?label="):
        labelled_records("hf:x", HubLocation.parse(f"{saved}?label=none"))


def test_columns_can_be_named(tmp_path):
    both = table().add_column("fine", [1, 1, 0, 0])
    both = both.cast_column("fine", datasets.ClassLabel(names=["x", "y"]))
    both.save_to_disk(str(tmp_path / "both"))
    with pytest.raises(LocationRefused, match="its label column: got label, fine"):
        labelled_records("hf:x", HubLocation.parse(str(tmp_path / "both")))
    records = labelled_records("hf:x", HubLocation.parse(f"{tmp_path}/both?label=fine&image=image"))
    assert [records[k].label for k in range(4)] == [1, 1, 0, 0]


def test_a_location_names_revision_split_and_configuration():
    assert HubLocation.parse("a/b") == HubLocation("a/b", None, "train", None)
    place = HubLocation.parse("a/b@v1#test?config=big&label=fine")
    assert place == HubLocation("a/b", "v1", "test", "big", None, "fine")


@pytest.mark.parametrize("text", ["", "#test", "a/b?colour=red"])
def test_other_locations_are_refused(text):
    with pytest.raises(LocationRefused, match="allowed: NAME"):
        HubLocation.parse(text)


def captioned(captions, *, column="text"):
    kind = datasets.Value("string")
    several = datasets.List(kind) if isinstance(captions[0], list) else kind
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": png(10 * k), "path": None} for k in range(len(captions))],
            column: captions,
            "label": [0] * len(captions),
        },
        features=datasets.Features(
            {"image": datasets.Image(), column: several, "label": datasets.ClassLabel(names=["x"])}
        ),
    )


@pytest.mark.parametrize(
    ("column", "captions", "expected"),
    [
        ("text", ["an owl", "a fox"], [("an owl",), ("a fox",)]),
        ("caption", ["an owl", "a fox"], [("an owl",), ("a fox",)]),
        ("captions", [["an owl", "a bird"], ["a fox"]], [("an owl", "a bird"), ("a fox",)]),
    ],
)
def test_captions_are_one_text_or_several(column, captions, expected, tmp_path):
    captioned(captions, column=column).save_to_disk(str(tmp_path / "saved"))
    place = HubLocation.parse(str(tmp_path / "saved"))
    records = captioned_records("hf:x", place)
    assert [records[k].captions for k in range(len(records))] == expected
    assert records[1].content == png(10)
    assert records.classes.names == ()
    stream = captioned_stream("hf-stream:x", place, BadExamples(OnBad.STOP))
    found = [r for r in stream.read(epoch=0, share=0, shares=1) if isinstance(r, Record)]
    assert sorted((r.content, r.captions) for r in found) == sorted(
        (png(10 * k), own) for k, own in enumerate(expected)
    )


def test_a_row_without_a_caption_is_named(tmp_path):
    captioned(["an owl", None, " "]).save_to_disk(str(tmp_path / "saved"))
    place = HubLocation.parse(str(tmp_path / "saved"))
    records = captioned_records("hf:x", place)
    with pytest.raises(ExampleUnreadable, match="hf:x:1 cannot be used: it has no caption"):
        records[1]
    with pytest.raises(ExampleUnreadable, match="hf:x:2 cannot be used: a caption is empty"):
        records[2]
    stream = captioned_stream("hf-stream:x", place, BadExamples(OnBad.STOP))
    found = list(stream.read(epoch=0, share=0, shares=1))
    assert sum(isinstance(record, ExampleUnreadable) for record in found) == 2


def test_the_caption_column_can_be_named_and_must_be_there(tmp_path):
    both = captioned(["an owl", "a fox"]).add_column("caption", ["x", "y"])
    both.save_to_disk(str(tmp_path / "both"))
    with pytest.raises(LocationRefused, match=r"its caption column: got caption, text; allowed: "):
        captioned_records("hf:x", HubLocation.parse(str(tmp_path / "both")))
    records = captioned_records("hf:x", HubLocation.parse(f"{tmp_path}/both?caption=text"))
    assert records[1].captions == ("a fox",)
    with pytest.raises(LocationRefused, match=r"its caption column: got none; allowed: \?caption="):
        captioned_records("hf:x", HubLocation.parse(f"{tmp_path}/both?caption=title"))


def test_a_column_of_the_other_kind_is_refused_and_not_passed_over(saved, tmp_path):
    with pytest.raises(LocationRefused, match=r"got caption=text; allowed: \?label=COLUMN"):
        labelled_records("hf:x", HubLocation.parse(f"{saved}?caption=text"))
    captioned(["an owl"]).save_to_disk(str(tmp_path / "captioned"))
    with pytest.raises(LocationRefused, match=r"got label=label; allowed: \?caption=COLUMN"):
        captioned_records("hf:x", HubLocation.parse(f"{tmp_path}/captioned?label=label"))
