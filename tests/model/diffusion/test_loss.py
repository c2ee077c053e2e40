"""The multi-scale loss beyond the recorded batch."""

import torch

from model.diffusion.loss import branch_losses, reduce_to


def test_reduced_white_noise_keeps_unit_variance():
    noise = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for side in (16, 8, 4):
        assert abs(reduce_to(noise, side).std().item() - 1) < 0.05


def test_branches_weigh_by_their_share_of_pixels():
    target = torch.zeros(2, 1, 16, 16)
    ones = [torch.ones(2, 1, side, side) for side in (4, 8, 16)]
    weights = torch.tensor([[1 / 16], [1 / 4], [1.0]]).expand(3, 2)
    torch.testing.assert_close(branch_losses(ones, target), weights)
