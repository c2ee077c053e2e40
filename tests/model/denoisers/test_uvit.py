"""U-ViT against its definition."""

import math

import pytest
import torch
from torch.nn import functional as F

from model.denoisers.uvit import UViT
from model.specs.networks import UViTSpec


def spec_of(**changes):
    values = {"size": 8, "channels": 3, "classes": 4, "dim": 12, "blocks": 3, "heads": 2}
    return UViTSpec(**values, patch=2, **changes)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = UViT(spec_of())
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return network


def block(x, weights, heads):
    """One pre-norm block written out, attention by explicit matrix products."""
    width = x.shape[-1]

    def linear(name, value):
        return F.linear(value, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(name, value):
        return F.layer_norm(value, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    q, k, v = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2)
        for part in linear("attention.qkv", norm("attention.norm", x)).chunk(3, dim=-1)
    )
    scores = (q @ k.transpose(-2, -1) / math.sqrt(width // heads)).softmax(dim=-1)
    x = x + linear("attention.out", (scores @ v).transpose(1, 2).flatten(2))
    return x + linear("mlp.out", F.gelu(linear("mlp.inner", norm("mlp.norm", x))))


def test_the_network_is_its_definition(network):
    weights = dict(network.state_dict())
    x, t, y = torch.randn(2, 3, 8, 8), torch.tensor([0.1, 0.8]), torch.tensor([1, 4])
    frequency = torch.exp(-math.log(10_000) * torch.arange(6) / 6)
    angle = 1000 * t[:, None] * frequency
    patches = F.conv2d(x, weights["patchify.embed.weight"], weights["patchify.embed.bias"], 2)
    tokens = torch.cat(
        (
            weights["class_embedding.weight"][y][:, None],
            torch.cat((angle.cos(), angle.sin()), dim=1)[:, None],
            patches.flatten(2).transpose(1, 2),
        ),
        dim=1,
    )
    tokens = tokens + weights["position.weight"]

    def run(index, value):
        prefix = f"trunk.blocks.{index}."
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        return block(value, own, heads=2)

    first = run(0, tokens)
    joined = torch.cat((run(1, first), first), dim=-1)
    last = run(2, F.linear(joined, weights["trunk.skips.0.weight"], weights["trunk.skips.0.bias"]))
    last = F.layer_norm(last, (12,), weights["norm.weight"], weights["norm.bias"])
    pixels = F.linear(last[:, 2:], weights["decoder.weight"], weights["decoder.bias"])
    image = torch.stack(
        [
            pixels[:, 4 * (row // 2) + column // 2].view(2, 2, 2, 3)[:, row % 2, column % 2]
            for row in range(8)
            for column in range(8)
        ],
        dim=-1,
    ).view(2, 3, 8, 8)
    expected = F.conv2d(image, weights["conv.weight"], weights["conv.bias"], padding=1)
    with torch.no_grad():
        (found,) = network(x, t, y)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_adaln_zero_takes_the_place_of_the_time_token_and_leaves_the_norms_affine():
    token, modulated = UViT(spec_of()), UViT(spec_of(time="adaln-zero"))
    assert token.position.num_embeddings == 16 + 2
    assert modulated.position.num_embeddings == 16 + 1
    names = dict(modulated.named_parameters())
    assert "trunk.blocks.0.attention.norm.norm.weight" in names
    x = torch.randn(2, 17, 12)
    for stage in modulated.trunk.blocks:
        torch.testing.assert_close(stage(x, torch.randn(2, 12)), x, atol=0, rtol=0)
