from itertools import islice

import numpy as np
import pytest

from model.data.errors import ExampleUnreadable, SharesRefused
from model.data.images.annotations import Captions, Labels
from model.data.images.bad import BadExamples
from model.data.images.classes import Classes
from model.data.images.decoding import decode_picture
from model.data.images.streams import ShardStream, shuffled
from model.data.order import generator_for
from model.specs.data import OnBad

LABELS = Labels(Classes(("ant", "bee", "cow")))


def stream_of(urls, policy=OnBad.STOP):
    bad = BadExamples(policy)
    return ShardStream("x", [str(url) for url in urls], bad, LABELS), bad


def brightness(record):
    return int(np.asarray(decode_picture(record.content))[0, 0, 0])


def test_shares_are_disjoint_and_make_up_the_whole(shards):
    stream, _ = stream_of(shards)
    parts = [list(stream.read(epoch=3, share=k, shares=2)) for k in range(2)]
    levels = [[brightness(record) for record in part] for part in parts]
    assert sorted(levels[0] + levels[1]) == [10 * k for k in range(12)]
    assert {len(part) for part in parts} == {4, 8}
    assert all(record.label == brightness(record) // 10 % 3 for part in parts for record in part)


def test_a_pass_depends_on_epoch_and_share_alone(shards):
    def pass_of(epoch):
        stream, _ = stream_of(shards)
        return [record.where for record in stream.read(epoch=epoch, share=0, shares=1)]

    assert pass_of(0) == pass_of(0)
    assert pass_of(0) != pass_of(1)
    assert sorted(pass_of(0)) == sorted(pass_of(1))


def test_pipes_and_compressed_shards_are_read(shards, write_shard, picture):
    compressed = write_shard("x.tar.gz", {"a.png": picture, "a.cls": b"2"})
    stream, _ = stream_of([f"pipe:cat {shards[0]}", compressed])
    found = {record.where for record in stream.read(epoch=0, share=0, shares=1)}
    assert f"{compressed}:a" in found
    assert f"pipe:cat {shards[0]}:0003" in found
    assert len(found) == 5


@pytest.mark.parametrize(
    "command",
    ["false", "head -c 3000 {0}", "cat {0}; exit 3", "head -c 4096 {0}; exit 3", "no-such-program"],
)
def test_a_pipe_that_fails_is_named(command, shards, capfd):
    url = "pipe:" + command.format(shards[0])
    stream, _ = stream_of([url])
    with pytest.raises(ExampleUnreadable) as refusal:
        list(stream.read(epoch=0, share=0, shares=1))
    assert refusal.value.where == url
    capfd.readouterr()  # the shell's own complaint


def test_what_cannot_be_opened_is_named_and_the_rest_is_read(shards, tmp_path):
    missing = tmp_path / "missing.tar"
    stream, bad = stream_of([shards[0], missing, shards[2]], OnBad.SKIP)
    assert len(list(stream.read(epoch=0, share=0, shares=1))) == 8
    assert list(bad.reasons) == [str(missing)]


def test_a_wrong_example_keeps_its_place_as_an_error(write_shard, picture):
    members = {"a.png": picture, "b.png": picture, "b.cls": b"1", "c.cls": b"1"}
    stream, _ = stream_of([write_shard("x.tar.gz", members)])
    found = list(stream.read(epoch=0, share=0, shares=1))
    wrong = [record.where for record in found if isinstance(record, ExampleUnreadable)]
    assert len(found) == 3
    assert [where.rpartition(":")[2] for where in sorted(wrong)] == ["a", "c"]


def test_more_shares_than_shards_are_refused(shards):
    stream, _ = stream_of(shards)
    with pytest.raises(SharesRefused, match="got 4 processes for 3 shards"):
        stream.read(epoch=0, share=0, shares=4)


def test_a_pass_may_be_left_in_the_middle(shards):
    stream, _ = stream_of([f"pipe:cat {path}" for path in shards])
    part = stream.read(epoch=0, share=0, shares=1)
    assert len(list(islice(part, 2))) == 2
    part.close()


@pytest.mark.parametrize("window", [1, 3, 100])
def test_shuffling_keeps_every_item_and_reaches_no_further_than_its_window(window):
    found = list(shuffled(iter(range(50)), window, generator_for(1)))
    assert sorted(found) == list(range(50))
    assert all(item <= place + window for place, item in enumerate(found))
    assert found == list(shuffled(iter(range(50)), window, generator_for(1)))


def test_captions_stream_with_their_pictures_and_errors_keep_their_places(write_shard):
    members = {
        "a.png": b"first",
        "a.txt": b"an owl\na bird",
        "b.png": b"second",
        "b.json": b'{"text": "a fox"}',
        "c.png": b"third",
        "d.png": b"fourth",
        "d.txt": b"\xff",
    }
    shard = write_shard("x.tar.gz", members)
    stream = ShardStream("x", [str(shard)], BadExamples(OnBad.STOP), Captions())
    assert stream.classes.names == ()
    found = list(stream.read(epoch=0, share=0, shares=1))
    wrong = {str(error) for error in found if isinstance(error, ExampleUnreadable)}
    assert len(wrong) == 2
    assert any(f"{shard}:c cannot be used: it has no caption" in error for error in wrong)
    assert any(f"{shard}:d cannot be used: its caption is no UTF-8" in error for error in wrong)
    captions = {r.content: r.captions for r in found if not isinstance(r, ExampleUnreadable)}
    assert captions == {b"first": ("an owl", "a bird"), b"second": ("a fox",)}
