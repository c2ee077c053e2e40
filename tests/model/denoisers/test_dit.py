"""DiT against its published counts and its definition."""

import pytest
import torch
from torch.nn import functional as F

from model.denoisers.dit import DiT
from model.layers.embedding import grid_sinusoids
from model.specs.networks import DiTSpec


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DiT(DiTSpec(size=8, channels=4, classes=4, dim=16, blocks=2, heads=2, patch=2))


def test_xl_2_counts_the_published_parameters_less_variance_and_positions():
    spec = DiTSpec(size=32, channels=4, classes=1000, dim=1152, blocks=28, heads=16, patch=2)
    with torch.device("meta"):
        ours = sum(p.numel() for p in DiT(spec).parameters())
    assert ours == 674_816_272
    variance, positions = 16 * (1152 + 1), 256 * 1152
    assert ours + variance + positions == 675_129_632


def test_a_fresh_network_predicts_zero(network):
    (found,) = network(torch.randn(2, 4, 8, 8), torch.rand(2), torch.tensor([0, 4]))
    torch.testing.assert_close(found, torch.zeros(2, 4, 8, 8), atol=0, rtol=0)


def test_positions_are_fixed_and_not_part_of_the_state(network):
    torch.testing.assert_close(network.position, grid_sinusoids(4, 16), atol=0, rtol=0)
    assert "position" not in network.state_dict()


def test_a_block_is_its_definition(network):
    block = network.blocks[0]
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, condition = torch.randn(3, 5, 16), torch.randn(3, 16)
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (
        part[:, None] for part in block.modulation.linear(F.silu(condition)).chunk(6, dim=1)
    )

    def unit(value):
        return F.layer_norm(value, (16,), eps=1e-6)

    q, k, v = (
        part.unflatten(-1, (2, 8)).transpose(1, 2)
        for part in block.attention.qkv(unit(x) * (1 + scale) + shift).chunk(3, dim=-1)
    )
    scores = (q @ k.transpose(-2, -1) / 8**0.5).softmax(dim=-1)
    expected = x + gate * block.attention.out((scores @ v).transpose(1, 2).flatten(2))
    inner = block.mlp.inner(unit(expected) * (1 + scale_mlp) + shift_mlp)
    expected = expected + gate_mlp * block.mlp.out(F.gelu(inner, approximate="tanh"))
    torch.testing.assert_close(block(x, condition), expected, atol=1e-5, rtol=1e-5)


def test_time_and_class_are_one_condition(network):
    seen = []
    network.blocks[0].register_forward_pre_hook(lambda _, a: seen.append(a[1]))
    t, y = torch.tensor([0.2, 0.7]), torch.tensor([1, 4])
    network(torch.randn(2, 4, 8, 8), t, y)
    torch.testing.assert_close(seen[0], network.time(t) + network.class_embedding.weight[y])
