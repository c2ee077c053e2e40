"""Linear layers on rows."""

import pytest
import torch
from torch import nn

from model.layers.rows import RowLinear


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 33])
def test_it_is_a_linear_layer(rows):
    layer = RowLinear(20, 12)
    plain = nn.Linear(20, 12)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(rows, 20, requires_grad=True)
    torch.testing.assert_close(layer(x), plain(x))
    ours, theirs = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (layer, plain))
    torch.testing.assert_close(ours, theirs)
