"""Principal components of scales and shifts."""

import pytest
import torch

from model.bundle import load_bundle, write_bundle
from model.denoisers.build import build_denoiser
from model.evaluation.errors import EvaluationImpossible
from model.evaluation.modulation import (
    Trajectory,
    cumulative,
    explained,
    summary,
    trajectories,
)
from model.layers.adaln import AdaLNZero
from model.specs.networks import DiTSpec, UViTSpec

SHAPE = {"size": 8, "channels": 12, "classes": 3, "dim": 16, "blocks": 3, "heads": 2, "patch": 2}


def nobody(part, done, total):
    """A reader of progress that does not look."""


@pytest.fixture
def bundle(tiny_recipe, tmp_path):
    """A bundle of this network whose AdaLN-Zero is no longer zero."""

    def make(spec, scale=0.1):
        network = build_denoiser(spec)
        generator = torch.Generator().manual_seed(0)
        for module in network.modules():
            if isinstance(module, AdaLNZero):
                module.linear.weight.data.normal_(std=scale, generator=generator)
        recipe = tiny_recipe.model_copy(update={"network": spec})
        return load_bundle(write_bundle(tmp_path / "b", recipe, network, ("a", "b", "c"), steps=1))

    return make


def line(times, directions):
    """Values that move in so many directions, each half as strong as the one before."""
    generator = torch.Generator().manual_seed(0)
    t = torch.linspace(0, 1, times, dtype=torch.float64)
    waves = torch.stack([torch.cos(torch.pi * (k + 1) * t) for k in range(directions)], dim=1)
    axes = torch.linalg.qr(torch.randn(12, directions, generator=generator).double()).Q
    return Trajectory("b", "scale 1", waves * 0.5 ** torch.arange(directions) @ axes.T)


@pytest.mark.parametrize("spec", [DiTSpec(**SHAPE), UViTSpec(**SHAPE, time="adaln-zero")])
def test_every_block_has_two_scales_and_two_shifts(bundle, spec):
    found = trajectories(bundle(spec), times=13, label=3, show=nobody)
    assert len(found) == 3 * 4
    assert len({entry.block for entry in found}) == 3
    assert {entry.parameter for entry in found} == {"scale 1", "scale 2", "shift 1", "shift 2"}
    assert all(entry.values.shape == (13, 16) for entry in found)


def test_values_are_what_the_network_computes_at_those_times(bundle):
    made = bundle(DiTSpec(**SHAPE))
    found = trajectories(made, times=13, label=1, show=nobody)
    process = made.manifest.process
    t = torch.linspace(process.t_min, process.t_max, 13)
    network = made.network
    condition = network.time(t) + network.class_embedding(torch.full((13,), 1))
    source = network.get_submodule(found[0].block)
    first, second = source(condition)
    by_name = {entry.parameter: entry.values for entry in found[:4]}
    for name, value in (("scale 1", first.scale), ("shift 2", second.shift)):
        torch.testing.assert_close(by_name[name], value)


def test_looking_leaves_no_hook_behind(bundle):
    made = bundle(DiTSpec(**SHAPE))
    first = trajectories(made, times=4, label=3, show=nobody)
    again = trajectories(made, times=4, label=3, show=nobody)
    assert [len(entry.values) for entry in again] == [len(entry.values) for entry in first]


def test_the_class_counts_where_the_network_is_told_of_it(bundle):
    made = bundle(DiTSpec(**SHAPE))
    none, one = (trajectories(made, times=4, label=k, show=nobody)[0].values for k in (3, 0))
    assert (none - one).abs().max() > 1e-4


def test_a_movement_in_two_directions_has_two_components():
    found = explained(line(50, 2))
    assert found.ratios[0] == pytest.approx(0.8, abs=0.02)  # a quarter of the strength is left
    assert sum(found.ratios[:2]) == pytest.approx(1)
    assert found.ratios[2] < 1e-12
    assert found.variance > 0


def test_a_summary_counts_the_components_that_always_suffice():
    found = summary([explained(line(50, 1)), explained(line(50, 2))])
    assert found.parameters == 2
    assert found.components_needed == {"90%": 2, "95%": 2, "99%": 2}
    assert found.least_cumulative[0] == pytest.approx(0.8, abs=0.02)
    assert found.mean_cumulative[0] == pytest.approx(0.9, abs=0.02)


def test_parameters_that_stand_still_do_not_count():
    still = explained(Trajectory("b", "shift 1", torch.ones(9, 12)))
    assert still.ratios == ()
    assert cumulative([still, explained(line(50, 1))]).shape[0] == 1
    with pytest.raises(EvaluationImpossible, match="has been trained"):
        cumulative([still])


def test_a_network_without_adaln_is_refused(bundle_folder):
    with pytest.raises(
        EvaluationImpossible, match=r"tiny has no AdaLN-Zero.*'dimr'.*allowed: 'dit'"
    ):
        trajectories(load_bundle(bundle_folder), times=4, label=3, show=nobody)
