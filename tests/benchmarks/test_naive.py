"""The yardstick of the network benchmark computes what it is compared with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.denoisers.dimr import DiMR
from model.denoisers.official import from_state_dict
from model.diffusion.loss import branch_losses
from model.specs.networks import DiMRSpec
from tests.benchmarks.naive import NaiveDiMR, NotReleased

FIXTURE = Path(__file__).parents[1] / "fixtures" / "official" / "dimr_two_branches.npz"

THREE_BRANCHES = {
    "size": 16,
    "channels": 3,
    "classes": 7,
    "stages": [
        {"kind": "transformer", "dim": 24, "blocks": 5, "hidden": 40, "heads": 3}
        | {"patch": 2, "pool": 2},
        {"kind": "convnext", "dim": 12, "blocks": 1, "hidden": 24, "patch": 2},
        {"kind": "convnext", "dim": 10, "blocks": 3, "hidden": 20, "kernel": 5},
    ],
}


@pytest.fixture(scope="module")
def recorded():
    with np.load(FIXTURE) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def both(spec):
    """Our network with weights that leave nothing at its start, and the naive one with the same."""
    generator = torch.Generator().manual_seed(0)
    ours = DiMR(spec)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    naive = NaiveDiMR(spec)
    naive.load_state_dict(ours.state_dict())
    return ours, naive


@pytest.mark.parametrize("run", range(7))
def test_the_naive_network_agrees_with_the_authors_outputs(recorded, run):
    prefix = "state_dict/"
    theirs = {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}
    ours = from_state_dict(theirs, num_heads=4)
    naive = NaiveDiMR(ours.spec)
    naive.load_state_dict(ours.state_dict())
    with torch.no_grad():
        low, high = naive(*(recorded[f"run{run}/{name}"] for name in "xty"))
    torch.testing.assert_close(low, recorded[f"run{run}/out0"], atol=2e-5, rtol=0)
    torch.testing.assert_close(high, recorded[f"run{run}/out1"], atol=2e-5, rtol=0)


def test_predictions_and_gradients_of_three_branches_agree_with_ours():
    spec = DiMRSpec.model_validate(THREE_BRANCHES)
    generator = torch.Generator().manual_seed(1)
    x, noise = torch.randn(2, 3, 3, 16, 16, generator=generator)
    t, y = torch.tensor([0.01, 0.4, 1.0]), torch.tensor([0, 6, 7])
    ours, naive = both(spec)
    found = [network(x, t, y) for network in (ours, naive)]
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
    for predictions in found:
        branch_losses(predictions, noise).sum(0).mean().backward()
    mine = {name: p.grad for name, p in ours.named_parameters()}
    plain = {name: p.grad for name, p in naive.named_parameters()}
    torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-4)


def test_an_ablation_is_refused_by_name():
    spec = DiMRSpec.model_validate(THREE_BRANCHES | {"norm": "rmsnorm"})
    with pytest.raises(NotReleased, match="norm: got 'rmsnorm'; allowed: 'td-rmsnorm'"):
        NaiveDiMR(spec)
