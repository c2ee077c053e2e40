import pytest
import torch
from torch.testing import assert_close

from model.sampling.update import advance


@pytest.fixture
def arrays():
    """An anchor and three predictions of three samples."""
    return torch.randn(4, 3, 2, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def weights():
    """c_x, c_0, c_1 and c_2 of three samples, float64."""
    return torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_each_sample_takes_its_own_affine_step(arrays, weights):
    x, _ = advance(*(*arrays, *weights, torch.ones(3, dtype=torch.bool)))
    expected = torch.einsum("jb,jbchw->bchw", weights.float(), arrays)
    assert_close(x, expected)


def test_the_anchor_moves_only_where_the_row_says_so(arrays, weights):
    x, anchor = advance(*(*arrays, *weights, torch.tensor([True, False, True])))
    assert_close(anchor[[0, 2]], x[[0, 2]], rtol=0, atol=0)
    assert_close(anchor[1], arrays[0, 1], rtol=0, atol=0)


def test_float64_weights_are_rounded_to_the_state(arrays, weights):
    moves = torch.tensor([True, False, True])
    computed = advance(*(*arrays, *weights, moves))
    rounded = advance(*(*arrays, *weights.float(), moves))
    assert_close(computed, rounded, rtol=0, atol=0)
