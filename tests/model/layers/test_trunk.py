"""Rows of blocks and the U with its long skips."""

import torch
from torch import nn

from model.layers.trunk import Blocks, UShape, blocks_in


class Shift(nn.Module):
    """Adds the condition and counts its calls."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = 0

    def forward(self, x, condition):
        self.calls += 1
        return (self.weight * x).tanh() + condition[:, None, None]


def test_the_last_in_block_is_the_first_to_be_joined_again():
    trunk = UShape([Shift() for _ in range(5)], dim=2)
    joined = []
    for skip in trunk.skips:
        skip.register_forward_pre_hook(lambda _, a: joined.append(a[0]))
    features = trunk(torch.randn(3, 4, 2), torch.rand(3))
    assert len(features) == 6
    torch.testing.assert_close(joined[0], torch.cat((features[3], features[2]), dim=-1))
    torch.testing.assert_close(joined[1], torch.cat((features[4], features[1]), dim=-1))


def test_side_tensors_join_every_long_skip():
    trunk = UShape([Shift() for _ in range(3)], dim=2, side=1)
    side = torch.randn(3, 4, 2)
    joined = []
    trunk.skips[0].register_forward_pre_hook(lambda _, a: joined.append(a[0]))
    trunk(torch.randn(3, 4, 2), torch.rand(3), [side])
    torch.testing.assert_close(joined[0][..., 4:], side, atol=0, rtol=0)


def test_recomputed_blocks_run_again_in_the_backward_pass_and_only_there():
    trunk = UShape([Shift() for _ in range(3)], dim=2)
    (row,) = blocks_in(trunk)
    row.recompute()
    with torch.no_grad():
        trunk(torch.randn(1, 4, 2), torch.rand(1))
    assert [block.calls for block in row] == [1, 1, 1]
    trunk(torch.randn(1, 4, 2), torch.rand(1))[-1].sum().backward()
    assert [block.calls for block in row] == [3, 3, 3]


def test_a_row_names_its_parameters_as_a_plain_list_does():
    blocks = [nn.Linear(2, 2), nn.Linear(2, 2)]
    assert list(Blocks(blocks).state_dict()) == list(nn.ModuleList(blocks).state_dict())
