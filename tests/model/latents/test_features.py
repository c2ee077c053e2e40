import io
import json
import pickle

import numpy as np
import pytest

from model.data.errors import ExampleUnreadable
from model.latents.__main__ import main
from model.latents.features import read_feature
from model.latents.source import open_latents
from model.specs.data import LatentsData

BATCH = 3
COUNT = 7


def write_pair(path, moments, label, *, protocol=4):
    """As `np.save(path, (moments, label))` did before NumPy asked for dtype=object."""
    pair = np.empty(2, dtype=object)
    pair[0], pair[1] = moments, label
    content = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (2,)}
    np.lib.format.write_array_header_1_0(content, header)
    path.write_bytes(content.getvalue() + pickle.dumps(pair, protocol=protocol))


def moments_of(k, view):
    return np.random.default_rng([k, view]).standard_normal((4, 2, 2)).astype(np.float32)


@pytest.fixture
def features(tmp_path):
    """Seven images as the authors save them in batches of three."""
    folder = tmp_path / "features"
    folder.mkdir()
    number = 0
    for start in range(0, COUNT, BATCH):
        batch = range(start, min(start + BATCH, COUNT))
        for view in range(2):
            for k in batch:
                write_pair(folder / f"{number}.npy", moments_of(k, view), k % 2)
                number += 1
    return folder


@pytest.fixture
def command(features, class_index, tmp_path):
    words = ["import-features", str(features), "--batch", str(BATCH), "--shard-size", "4"]
    return [*words, "--class-index", str(class_index), "--out", str(tmp_path / "out")]


@pytest.mark.parametrize("label", [3, np.int64(3), np.int32(3), np.array(3)])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_file_of_numpy_is_read(label, protocol, tmp_path):
    write_pair(tmp_path / "0.npy", moments_of(0, 0), label, protocol=protocol)
    moments, found = read_feature(tmp_path / "0.npy")
    np.testing.assert_array_equal(moments, moments_of(0, 0))
    assert found == 3


def test_what_numpy_itself_saves_is_read(tmp_path):
    pair = np.array([None, 5], dtype=object)
    pair[0] = moments_of(1, 0)
    np.save(tmp_path / "0.npy", pair)
    np.testing.assert_array_equal(read_feature(tmp_path / "0.npy")[0], moments_of(1, 0))


def test_fortran_order_and_another_byte_order_are_read(tmp_path):
    expected = moments_of(2, 0)
    write_pair(tmp_path / "0.npy", np.asfortranarray(expected).astype(">f4", order="F"), 1)
    np.testing.assert_array_equal(read_feature(tmp_path / "0.npy")[0], expected)


def test_the_older_name_of_numpys_core_is_read(tmp_path):
    write_pair(tmp_path / "0.npy", moments_of(0, 0), 3, protocol=2)
    old = (tmp_path / "0.npy").read_bytes().replace(b"numpy._core.", b"numpy.core.")
    (tmp_path / "0.npy").write_bytes(old)
    np.testing.assert_array_equal(read_feature(tmp_path / "0.npy")[0], moments_of(0, 0))


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function", [exec, eval, getattr, np.load, np.lib.format.open_memmap, __import__]
)
def test_a_pickle_that_names_code_is_refused_and_not_run(function, tmp_path):
    victim = tmp_path / "victim"
    write_pair(tmp_path / "0.npy", Evil(function, f"open({str(victim)!r}, 'w')"), 0)
    with pytest.raises(ExampleUnreadable, match="which no feature file needs"):
        read_feature(tmp_path / "0.npy")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("moments", "label", "reason"),
    [
        (np.zeros((2, 2), np.float32), 0, "of shape"),
        (np.zeros((4, 2, 2), np.int64), 0, "int64"),
        (np.zeros((4, 2, 2), np.complex64), 0, "type 'c8'"),
        (np.array([None]), 0, "type 'O8'"),
        ("moments", 0, "it holds 'moments' where an array should be"),
        (np.zeros((4, 2, 2), np.float32), "0", "it holds '0' where an array should be"),
    ],
)
def test_other_content_is_refused(moments, label, reason, tmp_path):
    write_pair(tmp_path / "0.npy", moments, label)
    with pytest.raises(ExampleUnreadable, match=reason):
        read_feature(tmp_path / "0.npy")


def test_a_cut_or_foreign_file_is_refused(features, tmp_path):
    whole = (features / "0.npy").read_bytes()
    path = tmp_path / "x.npy"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ExampleUnreadable, match=r"x\.npy cannot be used"):
            read_feature(path)
    np.save(path, np.zeros(3))
    with pytest.raises(ExampleUnreadable, match="not a pair"):
        read_feature(path)
    with pytest.raises(ExampleUnreadable, match="No such file"):
        read_feature(tmp_path / "none.npy")


def test_imported_features_pair_each_image_with_its_mirror_image(command, tmp_path):
    assert main(command) == 0
    source = open_latents(str(tmp_path / "out"), LatentsData())
    assert len(source) == 2 * COUNT
    for k in range(COUNT):
        np.testing.assert_array_equal(source[k].value, moments_of(k, 0))
        np.testing.assert_array_equal(source[COUNT + k].value, moments_of(k, 1))
        assert source[k].label == k % 2
    assert source.aliases == {"ant": ("emmet",)}


def test_importing_can_be_shared_and_repeated(command, tmp_path):
    assert main(command) == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    command[-1] = str(tmp_path / "shared")
    for share in ("1/2", "0/2", "0/1"):
        assert main([*command, "--shard", share]) == 0
    shared = {path.name: path.read_bytes() for path in (tmp_path / "shared").iterdir()}
    assert shared == whole


def test_another_batch_size_is_noticed(command, capsys):
    command[command.index(str(BATCH))] = "4"
    assert main(command) == 2
    assert "they were not saved in batches of 4" in capsys.readouterr().err


def test_a_damaged_feature_stops_or_is_named(command, features, tmp_path, capsys):
    (features / "4.npy").write_bytes(b"")
    assert main(command) == 2
    assert f"{features / '4.npy'} cannot be used" in capsys.readouterr().err
    assert main([*command, "--on-bad", "skip"]) == 0
    index = json.loads((tmp_path / "out" / "index.json").read_bytes())
    assert [shard["count"] for shard in index["shards"]] == [3, 3]
    assert [entry["where"] for entry in index["shards"][0]["bad"]] == [str(features / "4.npy")]


def test_a_label_outside_the_classes_is_named(command, features, capsys):
    for number in (0, 3):
        write_pair(features / f"{number}.npy", moments_of(0, 0), 2)
    assert main(command) == 2
    assert "its label is 2; allowed: 0 to 1" in capsys.readouterr().err


def test_files_with_a_gap_or_an_odd_number_are_refused(features, command, capsys):
    (features / "13.npy").unlink()
    assert main(command) == 2
    assert "it holds 13 feature files" in capsys.readouterr().err
    (features / "14.npy").touch()
    assert main(command) == 2
    assert "there is no 13.npy but a later one" in capsys.readouterr().err


def test_classes_are_imagenets_unless_said_otherwise(features, tmp_path):
    out = tmp_path / "imagenet"
    words = ["import-features", str(features), "--batch", str(BATCH), "--out", str(out)]
    assert main(words) == 0
    assert open_latents(str(out), LatentsData()).classes[0] == "tench"
