import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file

from model.data.errors import ExampleUnreadable, LatentsUnreadable, NothingReadable
from model.latents.__main__ import main
from model.latents.source import open_latents
from model.specs.data import LatentsData, OnBad


def open_all(folder, **options):
    return open_latents(str(folder), LatentsData(**options))


def flip_byte(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_examples_are_what_the_shards_hold(latents):
    source = open_all(latents, flip=False)
    shards = [load_file(latents / f"moments-0000{k}.safetensors") for k in range(3)]
    expected = np.concatenate([shard["moments"] for shard in shards])
    assert len(source) == 11
    assert source.shape == (4, 4, 4)
    assert list(source.classes) == ["ant", "bee"]
    for k in (10, 0, 4, 3, 8):
        np.testing.assert_array_equal(source[k].value, expected[k, 0])
        assert source[k].value.dtype == np.float32
        assert source[k].label == (k >= 5)


def test_mirrored_examples_follow_the_originals(latents):
    source = open_all(latents)
    last = load_file(latents / "moments-00002.safetensors")["moments"]
    assert len(source) == 22
    np.testing.assert_array_equal(source[10].value, last[2, 0])
    np.testing.assert_array_equal(source[21].value, last[2, 1])
    assert source[21].label == 1
    for outside in (-1, 22):
        with pytest.raises(IndexError):
            source[outside]


def test_half_precision_is_read_as_float32(encode, tmp_path, latents):
    assert main([*encode, "--out", str(tmp_path / "half"), "--dtype", "float16"]) == 0
    half, whole = open_all(tmp_path / "half")[7].value, open_all(latents)[7].value
    assert half.dtype == np.float32
    np.testing.assert_array_equal(half, whole.astype(np.float16).astype(np.float32))


def test_names_and_aliases_come_from_the_class_index(encode, class_index, tmp_path):
    out = tmp_path / "named"
    assert main([*encode, "--out", str(out), "--class-index", str(class_index)]) == 0
    assert open_all(out).aliases == {"ant": ("emmet",)}


def test_a_source_goes_to_another_process_with_its_shards_closed(latents):
    source = open_all(latents)
    expected = source[3].value
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3].value, expected)


def test_an_altered_example_is_named(latents):
    shard = latents / "moments-00001.safetensors"
    place = shard.read_bytes().index(load_file(shard)["moments"][2, 1].tobytes())
    flip_byte(shard, place)
    source = open_all(latents)
    assert source[5].label == 1
    assert source[6].label == 1
    with pytest.raises(ExampleUnreadable, match=r"moments-00001\.safetensors:2 mirrored cannot be"):
        source[11 + 6]
    lenient = open_all(latents, on_bad=OnBad.SKIP)
    np.testing.assert_array_equal(lenient[17].value, source[18].value)
    assert list(lenient.bad) == [f"{shard}:2 mirrored"]


def test_an_altered_label_is_named(latents):
    shard = latents / "moments-00001.safetensors"
    place = shard.read_bytes().index(load_file(shard)["labels"].tobytes())
    flip_byte(shard, place)
    with pytest.raises(ExampleUnreadable, match=r"moments-00001\.safetensors:0 cannot be used"):
        open_all(latents)[4]


def test_nothing_as_it_was_stops_whatever_the_policy(latents):
    for shard in latents.glob("*.safetensors"):
        content = shard.read_bytes()
        tensors = load_file(shard)
        begin = content.index(tensors["checksums"].tobytes())
        size = tensors["checksums"].nbytes
        shard.write_bytes(content[:begin] + bytes(size) + content[begin + size :])
    with pytest.raises(NothingReadable):
        open_all(latents, on_bad=OnBad.SKIP)[0]


def test_a_missing_shard_is_named(latents):
    (latents / "moments-00001.safetensors").unlink()
    with pytest.raises(
        LatentsUnreadable, match=r"moments-00001\.safetensors cannot be read as lat"
    ):
        open_all(latents)


def test_a_cut_shard_is_named(latents):
    shard = latents / "moments-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(LatentsUnreadable, match=r"moments-00001.*it has \d+ bytes, the index says"):
        open_all(latents)


def test_a_shard_in_the_place_of_another_is_named(latents):
    first, last = (latents / f"moments-0000{k}.safetensors" for k in (0, 2))
    text = (latents / "index.json").read_text()
    sizes = [path.stat().st_size for path in (first, last)]
    (latents / "index.json").write_text(text.replace(str(sizes[0]), str(sizes[1])))
    first.write_bytes(last.read_bytes())
    with pytest.raises(LatentsUnreadable, match=r"its moments are \(3, 2, 4, 4, 4\)"):
        open_all(latents)


def test_a_header_that_is_none_is_named(latents):
    flip_byte(latents / "moments-00000.safetensors", 7)
    with pytest.raises(LatentsUnreadable, match=r"moments-00000.*altered"):
        open_all(latents)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("{", "["), "index.json cannot be read as latents"),
        (('"format":1', '"format":2'), "plan.format"),
        (('"format": 1', '"format": 2'), "plan.format"),
        (("moments-00000.safetensors", "../x"), r"shards\.0\.file"),
    ],
)
def test_an_index_of_another_kind_is_refused(change, reason, latents):
    path = latents / "index.json"
    if change[0] not in path.read_text():
        change = (change[0].replace(":", ": "), change[1])
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(LatentsUnreadable, match=reason):
        open_all(latents)


def test_what_is_missing_is_said(latents, tmp_path):
    with pytest.raises(LatentsUnreadable, match="there is no such folder"):
        open_all(tmp_path / "none")
    (latents / "index.json").unlink()
    with pytest.raises(LatentsUnreadable, match="it is not complete; run the command"):
        open_all(latents)
    (tmp_path / "features").mkdir()
    with pytest.raises(LatentsUnreadable, match=r"it has no index\.json"):
        open_all(tmp_path / "features")
    (tmp_path / "features" / "0.npy").touch()
    with pytest.raises(LatentsUnreadable, match=r"run python -m model\.latents import-features"):
        open_all(tmp_path / "features")
