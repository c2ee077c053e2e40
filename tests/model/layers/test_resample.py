"""Between images and grids."""

import pytest
import torch
from torch import nn

from model.layers.norm import LayerNorm
from model.layers.resample import CascadeUpsample, Patchify, unpatchify


@pytest.mark.parametrize("channels", [1, 3, 12])
@pytest.mark.parametrize(("patch", "pool"), [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_patches_lie_in_memory_as_they_are_indexed(channels, patch, pool):
    layer = Patchify(channels, 6, patch=patch, pool=pool)
    image = torch.randn(2, channels, 8, 8)
    cells = layer(image)
    assert cells.is_contiguous()
    expected = layer.embed(nn.functional.avg_pool2d(image, pool)).permute(0, 2, 3, 1)
    torch.testing.assert_close(cells, expected)


def test_a_lifted_cell_fills_its_square_row_by_row():
    layer = CascadeUpsample(5, 3, 2, LayerNorm)
    low = torch.randn(1, 2, 2, 5)
    tau = torch.zeros(1)
    cells = layer.linear(layer.norm_in(low, tau))
    lifted = layer(low, tau)
    for row, column in ((0, 0), (1, 2), (3, 1)):
        part = 2 * (row % 2) + column % 2
        pixel = cells[:, row // 2, column // 2, 3 * part : 3 * part + 3]
        torch.testing.assert_close(lifted[:, row, column], layer.norm_out(pixel, tau))


def test_tokens_become_the_pixels_of_their_patches():
    image = torch.randn(2, 3, 6, 6)
    tokens = torch.stack(
        [
            image[:, :, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].permute(0, 2, 3, 1).flatten(1)
            for r in range(3)
            for c in range(3)
        ],
        dim=1,
    )
    torch.testing.assert_close(unpatchify(tokens, 2), image, atol=0, rtol=0)
