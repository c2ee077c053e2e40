"""PNG bytes, whole files and grids."""

import io

import numpy as np
import pytest
from PIL import Image

from model.files import write_whole
from model.sampling.pictures import encode_png, grid_columns, join_grid


def flat(level, side=16):
    return np.full((side, side, 3), level, dtype=np.uint8)


def test_a_png_gives_back_pixels_and_parameters():
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    content = encode_png(pixels, description="café", parameters={"seed": 3})
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert image.info["Description"] == "café"
        assert image.info["parameters"] == '{"seed": 3}'


def test_a_grid_keeps_the_order_and_enlarges_without_mixing():
    images = [flat(10), flat(20), flat(30)]
    grid = join_grid(images, columns=2, scale=3)
    assert grid.shape == ((2 * 17 + 1) * 3, (2 * 17 + 1) * 3, 3)
    assert set(np.unique(grid)) == {10, 20, 30, 255}
    step = 17 * 3
    centres = [grid[27, 27, 0], grid[27, 27 + step, 0], grid[27 + step, 27, 0]]
    assert centres == [10, 20, 30]
    assert grid[27 + step, 27 + step, 0] == 255
    assert (grid[:3] == 255).all()


def test_a_grid_is_no_wider_than_its_images():
    assert join_grid([flat(0)], columns=9, scale=1).shape == (18, 18, 3)


@pytest.mark.parametrize(
    ("classes", "each", "columns"), [(1, 16, 4), (1, 3, 2), (2, 16, 16), (96, 4, 20), (96, 1, 10)]
)
def test_a_grid_is_near_a_square_and_splits_no_class(classes, each, columns):
    assert grid_columns(classes, each) == columns


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "folder"]
