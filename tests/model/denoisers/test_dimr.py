"""Properties every DiMR has, whatever its sizes."""

import pytest
import torch

from model.denoisers.dimr import DiMR
from model.specs.networks import ConvNeXtStage, DiMRSpec, Norm, TransformerStage


def spec_of(norm=Norm.TD_RMSNORM):
    return DiMRSpec(
        size=16,
        channels=3,
        classes=5,
        norm=norm,
        stages=(
            TransformerStage(dim=16, blocks=3, hidden=32, heads=2, patch=4),
            ConvNeXtStage(dim=12, blocks=3, hidden=24, patch=2),
            ConvNeXtStage(dim=8, blocks=1, hidden=16, kernel=3),
        ),
    )


@pytest.fixture
def model(request):
    torch.manual_seed(0)
    network = DiMR(spec_of(getattr(request, "param", Norm.TD_RMSNORM)))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)  # at the initial point time has no effect yet
    return network.eval()


def test_each_branch_predicts_at_its_own_grid(model):
    outputs = model(torch.randn(2, 3, 16, 16), torch.rand(2), torch.tensor([0, 5]))
    assert [tuple(o.shape) for o in outputs] == [(2, 3, 4, 4), (2, 3, 8, 8), (2, 3, 16, 16)]


@pytest.mark.parametrize("model", list(Norm), indirect=True)
def test_a_batch_of_mixed_times_gives_each_sample_what_it_gets_alone(model):
    x, t = torch.randn(4, 3, 16, 16), torch.tensor([0.001, 0.3, 0.7, 1.0])
    y = torch.tensor([0, 1, 4, 5])
    with torch.no_grad():
        together = model(x, t, y)[-1]
        alone = torch.cat([model(x[i : i + 1], t[i : i + 1], y[i : i + 1])[-1] for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", [Norm.TD_RMSNORM, Norm.TD_LAYERNORM], indirect=True)
def test_time_and_class_reach_the_output(model):
    x = torch.randn(1, 3, 16, 16)

    def predict(t, y):
        with torch.no_grad():
            return model(x, torch.tensor([t]), torch.tensor([y]))[-1]

    base = predict(0.5, 1)
    assert (predict(0.6, 1) - base).abs().max() > 1e-4
    assert (predict(0.5, 2) - base).abs().max() > 1e-4


def test_every_parameter_takes_part(model):
    outputs = model(torch.randn(8, 3, 16, 16), torch.rand(8), torch.arange(8) % 6)
    sum(o.square().mean() for o in outputs).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
