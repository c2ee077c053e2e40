"""Attention whose heads get zeros: the same function, in either precision."""

import pytest
import torch
from torch import nn

from export.compilers.heads import WIDTH, WideHeads, is_narrow
from model.layers.blocks import Attention
from model.layers.norm import TDRMSNorm

TAU = torch.tensor([-0.7, 0.9])


def attention_of(width, heads=3, *, qkv_bias=False):
    torch.manual_seed(0)
    dim = width * heads
    attention = Attention(dim, heads, TDRMSNorm(dim), qkv_bias=qkv_bias)
    return attention.eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("width", [1, 4, 5, 8])
def test_zeros_change_nothing(width, qkv_bias):
    attention = attention_of(width, qkv_bias=qkv_bias)
    x = torch.randn(2, 7, 3 * width)
    torch.testing.assert_close(WideHeads(attention)(x, TAU), attention(x, TAU))


def test_heads_are_as_wide_as_kernels_take(monkeypatch):
    seen = []
    attend = nn.functional.scaled_dot_product_attention

    def watched(q, k, v, **options):
        seen.append({q.shape, k.shape, v.shape})
        return attend(q, k, v, **options)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", watched)
    WideHeads(attention_of(5))(torch.randn(2, 7, 15), TAU)
    assert seen == [{(2, 3, 7, WIDTH)}]


def test_weights_in_float16_are_used_in_float16():
    attention = attention_of(5)
    x = torch.randn(2, 7, 15)
    wanted = attention(x, TAU)
    attention.qkv.half()
    attention.out.half()
    found = WideHeads(attention)(x.half(), TAU)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), wanted, rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize(("width", "narrow"), [(8, True), (9, False), (64, False)])
def test_only_narrow_heads_are_narrow(width, narrow):
    assert is_narrow(attention_of(width)) is narrow
