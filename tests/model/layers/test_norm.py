"""The reference norms against their definitions."""

import pytest
import torch

from model.layers.norm import LayerNorm, RMSNorm, TDLayerNorm, TDRMSNorm, TimeDependentParameter


def randomised(module):
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module


def test_a_parameter_moves_from_second_to_first_as_time_passes():
    parameter = randomised(TimeDependentParameter(4, 1.0))
    parameter.slope.data.fill_(0.0)
    parameter.offset.data.fill_(0.0)
    low, middle, high = parameter(torch.tensor([-40.0, 0.0, 40.0]))
    torch.testing.assert_close(low, parameter.second)
    torch.testing.assert_close(middle, (parameter.first + parameter.second) / 2)
    torch.testing.assert_close(high, parameter.first)


@pytest.mark.parametrize("shape", [(3, 10), (3, 5, 10), (3, 4, 4, 10)])
def test_td_layer_norm_is_a_layer_norm_with_weights_of_its_sample(shape):
    norm = randomised(TDLayerNorm(10))
    x, tau = torch.randn(shape), torch.tensor([-0.9, 0.0, 1.0])
    out = norm(x, tau)
    for i in range(3):
        weight, bias = norm.weight(tau)[i], norm.bias(tau)[i]
        expected = torch.nn.functional.layer_norm(x[i], (10,), weight, bias, 1e-5)
        torch.testing.assert_close(out[i], expected, atol=2e-6, rtol=1e-5)


def test_a_static_layer_norm_is_pytorchs():
    norm = randomised(LayerNorm(10))
    x = torch.randn(3, 4, 10)
    expected = torch.nn.functional.layer_norm(x, (10,), norm.weight, norm.bias)
    torch.testing.assert_close(norm(x, torch.zeros(3)), expected)


@pytest.mark.parametrize("kind", [TDRMSNorm, RMSNorm])
def test_rms_norm_keeps_the_mean_and_adds_epsilon_to_the_root(kind):
    norm = randomised(kind(3))
    tau = torch.tensor([0.3])
    scale = norm.scale(tau)[0] if kind is TDRMSNorm else norm.scale
    x = torch.tensor([[1e-8, 1e-8, 1e-8]])  # rms 1e-8: the epsilon halves the result
    torch.testing.assert_close(norm(x, tau)[0], scale / 2, atol=0, rtol=1e-4)
    x = torch.tensor([[2.0, 2.0, 2.0]])
    torch.testing.assert_close(norm(x, tau)[0], scale)


@pytest.mark.parametrize("kind", [TDLayerNorm, TDRMSNorm, RMSNorm, LayerNorm])
def test_half_precision_is_kept_outside_and_statistics_are_float32_inside(kind):
    norm = randomised(kind(64))
    x, tau = torch.randn(2, 7, 64) * 300, torch.tensor([0.1, 0.9])
    half = norm(x.half(), tau)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), norm(x.half().float(), tau), atol=1e-2, rtol=2e-3)
