"""The pieces of the text-conditional U-Net."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.layers.unet import (
    CrossAttention,
    LevelBlock,
    ResidualBlock,
    SelfAttention,
    TextReader,
    TransformerBlock,
    Upsample,
    group_norm,
    masked_mean,
    zeroed,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def stirred(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return module


@pytest.mark.parametrize("width", [8, 24, 48, 64, 96, 1024])
def test_a_group_norm_has_at_most_32_groups_that_divide_its_width(width):
    norm = group_norm(width)
    assert norm.num_channels == width
    assert norm.num_groups <= 32
    assert width % norm.num_groups == 0
    assert width // norm.num_groups >= 2


@pytest.mark.parametrize(
    "block",
    [
        ResidualBlock(16, 16, embedding=8, dropout=0.0),
        SelfAttention(16, 8),
        CrossAttention(16, 8, embedding=8),
        LevelBlock(16, 16, embedding=8, head_width=8, attention=True),
        TransformerBlock(16, embedding=8, head_width=8, dropout=0.0),
    ],
    ids=lambda block: type(block).__name__,
)
def test_a_fresh_block_changes_nothing(block):
    x, embedding = torch.randn(2, 16, 4, 4), torch.randn(2, 8)
    text, mask = torch.randn(2, 3, 8), torch.ones(2, 3).bool()
    given = {
        ResidualBlock: (embedding,),
        SelfAttention: (),
        CrossAttention: (text, mask),
    }.get(type(block), (embedding, text, mask))
    torch.testing.assert_close(block(x, *given), x)


def test_self_attention_is_softmax_of_products_over_all_cells():
    block, x = stirred(SelfAttention(16, 8)), torch.randn(2, 16, 3, 5)
    query, key, value = (
        part.reshape(2, 2, 8, 15) for part in block.qkv(block.norm(x)).chunk(3, dim=1)
    )
    weights = (torch.einsum("bhdi,bhdj->bhij", query, key) / 8**0.5).softmax(-1)
    seen = torch.einsum("bhij,bhdj->bhdi", weights, value).reshape(2, 16, 3, 5)
    torch.testing.assert_close(block(x), x + block.out(seen))


def test_cross_attention_is_softmax_over_the_tokens_that_count():
    block, x = stirred(CrossAttention(16, 8, embedding=6)), torch.randn(2, 16, 3, 5)
    text, mask = torch.randn(2, 4, 6), torch.tensor([[True, False, True, False], [True] * 4])
    query = block.query(block.norm(x)).reshape(2, 2, 8, 15)
    key, value = (part.reshape(2, 4, 2, 8) for part in block.key_value(text).chunk(2, dim=2))
    products = torch.einsum("bhdi,blhd->bhil", query, key) / 8**0.5
    weights = products.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
    seen = torch.einsum("bhil,blhd->bhdi", weights, value).reshape(2, 16, 3, 5)
    torch.testing.assert_close(block(x, text, mask), x + block.out(seen))


def test_fused_attention_takes_what_the_blocks_give_it():
    x, text, mask = torch.randn(2, 16, 4, 4), torch.randn(2, 3, 8), torch.ones(2, 3).bool()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.no_grad():
        assert SelfAttention(16, 8)(x).shape == x.shape
        assert CrossAttention(16, 8, embedding=8)(x, text, mask).shape == x.shape


def test_an_embedding_scales_and_shifts_what_is_normalised():
    block, x = stirred(ResidualBlock(16, 24, embedding=8, dropout=0.0)), torch.randn(2, 16, 4, 4)
    embedding = torch.randn(2, 8)
    scale, shift = block.film(embedding)[..., None, None].chunk(2, dim=1)
    hidden = block.norm_out(block.inner(nn.functional.silu(block.norm_in(x))))
    expected = block.skip(x) + block.outer(nn.functional.silu(hidden * (1 + scale) + shift))
    torch.testing.assert_close(block(x, embedding), expected)


def test_without_attention_a_block_does_not_read_the_text():
    block = stirred(LevelBlock(8, 16, embedding=8, head_width=5, attention=False))
    x, embedding = torch.randn(2, 8, 4, 4), torch.randn(2, 8)
    nothing = torch.full((2, 3, 8), torch.nan)
    assert block(x, embedding, nothing, torch.ones(2, 3).bool()).isfinite().all()


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_the_way_up_repeats_cells(ratio):
    rise = Upsample(8, 8, ratio)
    nn.init.dirac_(zeroed(rise.conv).weight)
    x = torch.randn(2, 8, 3, 5)
    expected = x.repeat_interleave(ratio, -1).repeat_interleave(ratio, -2)
    torch.testing.assert_close(rise(x), expected)


def test_a_text_is_read_behind_a_token_that_always_counts():
    reader = TextReader(6, 8)
    text, mask = torch.randn(2, 3, 6), torch.tensor([[True, True, False], [False] * 3])
    tokens, counted = reader(text, mask)
    torch.testing.assert_close(tokens[:, 0], reader.first.expand(2, 8))
    torch.testing.assert_close(tokens[0, 1:3], reader.linear(reader.norm(text[0, :2])))
    assert counted.tolist() == [[True, True, True, False], [True, False, False, False]]


def test_what_does_not_count_is_read_as_zeros():
    reader, mask = TextReader(6, 8), torch.tensor([[True, False]])
    text = torch.randn(1, 2, 6)
    expected, _ = reader(text * mask[..., None], mask)
    text[:, 1] = torch.inf
    torch.testing.assert_close(reader(text, mask)[0], expected, atol=0, rtol=0)


def test_the_mean_is_of_the_tokens_that_count():
    tokens = torch.randn(2, 3, 4)
    found = masked_mean(tokens, torch.tensor([[True, False, True], [True, False, False]]))
    torch.testing.assert_close(
        found, torch.stack(((tokens[0, 0] + tokens[0, 2]) / 2, tokens[1, 0]))
    )
