"""Images as .npz, as other programs read them."""

import zipfile

import numpy as np
import pytest

from model.evaluation.archive import (
    ImageArchive,
    array_names,
    read_array,
    write_arrays,
    write_images,
)
from model.evaluation.errors import FileRefused


@pytest.fixture
def written(tmp_path, pictures):
    images, labels = pictures(7), np.arange(7, dtype=np.int64)
    path = tmp_path / "new" / "samples.npz"
    write_images(path, [images[:3], images[3:]], shape=images.shape, labels=labels)
    return path, images, labels


def test_numpy_reads_images_and_classes_without_unpickling(written):
    path, images, labels = written
    with np.load(path, allow_pickle=False) as archive:
        assert archive.files == ["arr_0", "arr_1"]
        assert archive["arr_0"].dtype == np.uint8
        assert archive["arr_1"].dtype == np.int64
        np.testing.assert_array_equal(archive["arr_0"], images)
        np.testing.assert_array_equal(archive["arr_1"], labels)


def test_the_images_can_be_streamed_as_the_adm_suite_does(written):
    # Its reader takes a C-ordered array of format 1.0 as a stream and any other whole.
    path, images, _ = written
    with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as member:
        assert np.lib.format.read_magic(member) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        assert (shape, fortran) == (images.shape, False)
        assert dtype == np.uint8
        assert member.read() == images.tobytes()


def test_equal_images_make_equal_files(written, tmp_path):
    path, images, labels = written
    write_images(tmp_path / "again.npz", [images], shape=images.shape, labels=labels)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_images_are_read_a_batch_at_a_time(written, size):
    path, images, labels = written
    archive = ImageArchive.open(path)
    batches = list(archive.batches(size))
    assert all(len(batch) <= size for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), images)
    np.testing.assert_array_equal(archive.labels(), labels)
    assert len(archive) == 7


def test_files_of_numpy_itself_are_read_compressed_or_not(tmp_path, pictures):
    images = pictures(4)
    np.savez(tmp_path / "plain.npz", images)
    np.savez_compressed(tmp_path / "small.npz", images)
    for name in ("plain.npz", "small.npz"):
        (batch,) = ImageArchive.open(tmp_path / name).batches(4)
        np.testing.assert_array_equal(batch, images)


def test_nothing_is_left_behind_when_writing_fails(tmp_path, pictures):
    def failing():
        yield pictures(2)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_images(
            tmp_path / "x.npz", failing(), shape=(4, 16, 16, 3), labels=np.zeros(4, np.int64)
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, "no array arr_0, only images"),
        ({"arr_0": np.zeros((2, 4, 4, 3), np.float32)}, "got float32 (2, 4, 4, 3)"),
        ({"arr_0": np.zeros((2, 3, 4, 4), np.uint8)}, "got uint8 (2, 3, 4, 4)"),
        ({"arr_0": np.zeros((0, 4, 4, 3), np.uint8)}, "got uint8 (0, 4, 4, 3)"),
    ],
)
def test_what_holds_no_images_is_refused(tmp_path, arrays, named):
    write_arrays(tmp_path / "x.npz", arrays)
    with pytest.raises(FileRefused) as refused:
        ImageArchive.open(tmp_path / "x.npz")
    assert named in str(refused.value)


def test_what_is_no_npz_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    for name in ("text.npz", "absent.npz"):
        with pytest.raises(FileRefused, match=name):
            array_names(tmp_path / name)


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", np.array([{"a": 1}], dtype=object))
    with pytest.raises(FileRefused, match="arr_0 cannot be read"):
        read_array(tmp_path / "x.npz", "arr_0")


def test_a_damaged_file_is_refused(written):
    path, _, _ = written
    content = bytearray(path.read_bytes())
    content[600] ^= 255
    path.write_bytes(content)
    with pytest.raises(FileRefused, match="arr_0 is damaged"):
        list(ImageArchive.open(path).batches(7))


def test_classes_must_be_one_for_each_image(tmp_path, pictures):
    write_arrays(tmp_path / "x.npz", {"arr_0": pictures(2), "arr_1": np.zeros(3, np.int64)})
    with pytest.raises(FileRefused, match=r"allowed: integers \(2,\)"):
        ImageArchive.open(tmp_path / "x.npz").labels()
