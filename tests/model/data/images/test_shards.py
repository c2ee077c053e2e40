import numpy as np
import pytest

from model.data.errors import ClassesRefused, ExampleUnreadable, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import decode_picture
from model.data.images.shards import CaptionedShardRecords, ShardRecords
from model.specs.data import OnBad


@pytest.fixture
def strict():
    return BadExamples(OnBad.STOP)


@pytest.fixture
def lenient():
    return BadExamples(OnBad.SKIP)


def brightness(record):
    return int(np.asarray(decode_picture(record.content))[0, 0, 0])


def test_shards_are_read_by_index_in_any_order(shards, strict):
    records = ShardRecords("x", shards, strict)
    assert len(records) == 12
    for k in (7, 0, 11, 4):
        record = records[k]
        assert brightness(record) == 10 * k
        assert record.label == k % 3
        assert record.where == f"{shards[k // 4]}:{k:04d}"


def test_labels_number_the_classes_or_an_index_names_them(shards, strict):
    assert ShardRecords("x", shards, strict).classes.names == ("0", "1", "2")
    index = Classes(("ant", "bee", "cow", "dog"))
    assert ShardRecords("x", shards, strict, index).classes is index


def test_labels_in_json_and_in_folders_are_read(write_shard, picture, strict):
    members = {
        "__meta__/x.json": b"{}",
        "a/1.png": picture,
        "a/1.json": b'{"label": 2}',
        "b/1.cls": b"1\n",
        "b/1.PNG": picture,
        "b/2.webp": picture,
        "b/2.json": b'{"cls": "0"}',
        "b/2.txt": b"a caption",
    }
    records = ShardRecords("x", [write_shard("x.tar", members)], strict)
    assert [records[k].label for k in range(len(records))] == [2, 1, 0]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"0.cls": b"0"}, "there are none"),
        ({"0.png": b"", "0.jpg": b"", "0.cls": b"0"}, "there are png, jpg"),
        ({"0.png": b""}, "it has no label"),
        ({"0.png": b"", "0.json": b"{}"}, "it has no label"),
        ({"0.png": b"", "0.json": b"[3]"}, "it has no label"),
        ({"0.png": b"", "0.json": b"{"}, "its .json cannot be read"),
        ({"0.png": b"", "0.cls": b"cat"}, "its label is 'cat'"),
        ({"0.png": b"", "0.cls": b"\xff\xfe"}, "its label is"),
        ({"0.png": b"", "0.cls": b"-1"}, "its label is '-1'"),
        ({"0.png": b"", "0.cls": b"2"}, "its label is 2; allowed: 0 to 1"),
    ],
)
def test_a_wrong_example_is_named_by_shard_and_member(
    members, reason, write_shard, picture, strict, lenient
):
    good = {"1.png": picture, "1.cls": b"1", "2.png": picture, "2.cls": b"0"}
    shard = write_shard("x.tar", members | good)
    with pytest.raises(ExampleUnreadable) as refusal:
        ShardRecords("x", [shard], strict, Classes(("ant", "bee")))
    assert refusal.value.where == f"{shard}:0"
    assert reason in refusal.value.reason
    records = ShardRecords("x", [shard], lenient, Classes(("ant", "bee")))
    assert [records[k].label for k in range(len(records))] == [1, 0]
    assert list(lenient.reasons) == [f"{shard}:0"]


@pytest.mark.parametrize("kept", [300, 700, 1024, 2048, 2500, 4000, 7100])
def test_a_truncated_shard_is_named_and_its_beginning_kept(kept, shards, strict, lenient):
    shards[1].write_bytes(shards[1].read_bytes()[:kept])
    with pytest.raises(ExampleUnreadable, match=f"{shards[1]} cannot be used: the shard is dam"):
        ShardRecords("x", shards, strict)
    records = ShardRecords("x", shards, lenient)
    assert list(lenient.reasons) == [str(shards[1])]
    assert 8 <= len(records) < 12
    assert [brightness(records[k]) for k in range(4)] == [0, 10, 20, 30]


def test_a_damaged_header_is_not_taken_for_the_end(shards, strict):
    content = bytearray(shards[0].read_bytes())
    content[2048:2060] = b"\xaa" * 12
    shards[0].write_bytes(content)
    with pytest.raises(ExampleUnreadable, match="the shard is damaged: bad checksum"):
        ShardRecords("x", shards, strict)


def test_what_is_no_shard_is_named(tmp_path, strict):
    path = tmp_path / "x.tar"
    path.write_bytes(b"")
    with pytest.raises(ExampleUnreadable, match="the shard is damaged"):
        ShardRecords("x", [path], strict)


def test_a_shard_that_was_cut_after_opening_is_named(shards, strict):
    records = ShardRecords("x", shards, strict)
    shards[2].write_bytes(shards[2].read_bytes()[:1030])
    with pytest.raises(ExampleUnreadable, match=f"{shards[2]}:0011"):
        records[11]


def test_shards_without_any_example_are_refused(write_shard, picture, strict, lenient):
    with pytest.raises(LocationRefused, match="hold no example"):
        ShardRecords("x", [write_shard("empty.tar", {})], strict)
    shard = write_shard("x.tar", {"0.png": picture, "0.cls": b"9"})
    with pytest.raises(LocationRefused, match="no example of its shards has a right label"):
        ShardRecords("x", [shard], lenient, Classes(("ant",)))
    shard = write_shard("x.tar", {"0.png": picture, "0.cls": b"ant"})
    with pytest.raises(ClassesRefused, match="no example has a label"):
        ShardRecords("x", [shard], strict)


def test_captions_are_read_with_their_pictures(write_shard, strict):
    members = {
        "a/1.txt": b"an owl\na bird\n",
        "a/1.png": b"first",
        "a/1.cls": b"no number",
        "b/2.jpg": b"second",
        "b/2.json": b'{"caption": "a fox", "width": 3}',
    }
    other = {"3.json": b"{", "3.webp": b"third", "3.txt": b"a cat"}
    shards = [write_shard("x.tar", members), write_shard("y.tar", other)]
    records = CaptionedShardRecords("x", shards, strict)
    assert records.classes.names == ()
    found = [records[k] for k in (2, 0, 1)]
    assert [(record.content, record.captions) for record in found] == [
        (b"third", ("a cat",)),
        (b"first", ("an owl", "a bird")),
        (b"second", ("a fox",)),
    ]
    assert [record.where for record in found] == [
        f"{shards[1]}:3",
        f"{shards[0]}:a/1",
        f"{shards[0]}:b/2",
    ]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"0.txt": b"an owl"}, "an example needs one picture; there are none"),
        ({"0.png": b"", "0.cls": b"0"}, "it has no caption; allowed: a .txt or a .json beside it"),
    ],
)
def test_an_example_without_picture_or_caption_is_named(
    members, reason, write_shard, strict, lenient
):
    shard = write_shard("x.tar", members | {"1.png": b"", "1.txt": b"an owl"})
    with pytest.raises(ExampleUnreadable) as refusal:
        CaptionedShardRecords("x", [shard], strict)
    assert str(refusal.value) == f"{shard}:0 cannot be used: {reason}"
    records = CaptionedShardRecords("x", [shard], lenient)
    assert [records[k].where for k in range(len(records))] == [f"{shard}:1"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("0.txt", b"", "it has no caption"),
        ("0.txt", b"\xff", "its caption is no UTF-8"),
        ("0.json", b"{", "its .json cannot be read"),
        ("0.json", b"{}", "it has no caption; allowed: an object with one of"),
    ],
)
def test_a_wrong_caption_is_named_when_it_is_read(name, content, reason, write_shard, strict):
    shard = write_shard("x.tar", {"0.png": b"", name: content})
    records = CaptionedShardRecords("x", [shard], strict)
    with pytest.raises(ExampleUnreadable) as refusal:
        records[0]
    assert str(refusal.value).startswith(f"{shard}:0 cannot be used: {reason}")


def test_a_captioned_shard_that_was_cut_after_opening_is_named(write_shard, strict):
    shard = write_shard("x.tar", {"0.txt": b"an owl", "0.png": b"x" * 600})
    records = CaptionedShardRecords("x", [shard], strict)
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(ExampleUnreadable, match=f"{shard}:0 cannot .* ends in the middle of it"):
        records[0]
