"""AdaLN-Zero: modulations, the norms they act on, and gates."""

import pytest
import torch
from torch import nn

from model.layers.adaln import AdaLNZero, ModulatedNorm, Modulation, gated


@pytest.fixture
def modulation():
    generator = torch.Generator().manual_seed(0)
    return Modulation(*torch.randn(3, 2, 6, generator=generator))


@pytest.mark.parametrize("shape", [(2, 6), (2, 5, 6), (2, 3, 4, 6)])
def test_a_modulated_norm_scales_and_shifts_each_sample_by_its_own(modulation, shape):
    norm = ModulatedNorm(nn.LayerNorm(6, elementwise_affine=False))
    x = torch.randn(shape)
    for i in range(2):
        unit = nn.functional.layer_norm(x[i], (6,))
        expected = unit * (1 + modulation.scale[i]) + modulation.shift[i]
        torch.testing.assert_close(norm(x, modulation)[i], expected)
        change = gated(torch.zeros_like(x), x, modulation)
        torch.testing.assert_close(change[i], modulation.gate[i] * x[i])


def test_half_precision_is_kept_outside_and_statistics_are_float32_inside(modulation):
    norm = ModulatedNorm(nn.LayerNorm(6, elementwise_affine=False))
    x = 300 * torch.randn(2, 5, 6)
    half = norm(x.half(), modulation)
    assert half.dtype == torch.float16
    torch.testing.assert_close(
        half.float(), norm(x.half().float(), modulation), atol=1e-2, rtol=2e-3
    )


def test_everything_is_zero_at_first_and_again_after_a_reset():
    layer = AdaLNZero(6)
    for values in layer(torch.randn(2, 6)):
        assert not torch.stack(values).any()
    nn.init.normal_(layer.linear.weight)
    assert all(torch.stack(values).any() for values in layer(torch.randn(2, 6)))
    layer.reset()
    assert not any(torch.stack(values).any() for values in layer(torch.randn(2, 6)))


def test_a_wider_condition_is_read_by_its_leading_channels():
    layer = AdaLNZero(6)
    nn.init.normal_(layer.linear.weight)
    condition = torch.randn(2, 10)
    for narrow, wide in zip(layer(condition[:, :6]), layer(condition), strict=True):
        torch.testing.assert_close(wide, narrow, atol=0, rtol=0)


def test_a_hook_sees_shift_scale_and_gate_of_both_branches():
    layer, seen = AdaLNZero(6), []
    layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    layer(torch.randn(2, 6))
    (first, second), *rest = seen
    assert rest == []
    for values in (first, second):
        assert {name: tuple(v.shape) for name, v in values._asdict().items()} == {
            "shift": (2, 6),
            "scale": (2, 6),
            "gate": (2, 6),
        }
