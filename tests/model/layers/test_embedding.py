"""Times and positions as vectors."""

import math

import pytest
import torch

from model.layers.embedding import TimeEmbedding, grid_sinusoids, sinusoids, time_sinusoids


def test_sinusoids_are_cosines_then_sines_of_falling_frequency():
    (found,) = sinusoids(torch.tensor([2.5]), 4).tolist()
    slow = 2.5 / math.sqrt(10_000)
    expected = [math.cos(2.5), math.cos(slow), math.sin(2.5), math.sin(slow)]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_an_odd_width_ends_in_a_zero():
    found = sinusoids(torch.tensor([2.5]), 5)
    torch.testing.assert_close(found[:, :4], sinusoids(torch.tensor([2.5]), 4))
    assert found[0, 4] == 0


def test_time_is_counted_in_thousandths():
    t = torch.tensor([0.001, 1.0])
    torch.testing.assert_close(time_sinusoids(t, 8), sinusoids(torch.tensor([1.0, 1000.0]), 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_embeddings_of_time_are_float32_whatever_time_is(dtype):
    assert TimeEmbedding(8, 6)(torch.tensor([0.5, 1.0], dtype=dtype)).dtype == torch.float32


def test_a_grids_positions_tell_column_and_row_apart():
    found = grid_sinusoids(3, 8)
    assert found.shape == (9, 8)
    column, row = found[5, :4], found[5, 4:]  # cell 5: row 1, column 2
    for half, place in ((column, 2.0), (row, 1.0)):
        angle = torch.tensor([place, place / 100])
        torch.testing.assert_close(half, torch.cat((angle.sin(), angle.cos())))
