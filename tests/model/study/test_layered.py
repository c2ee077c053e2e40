"""The rows of the layered study: one change each."""

import pytest

from model.denoisers.counting import count_network
from model.diffusion.build import build_schedules
from model.specs.files import read_recipe
from model.specs.recipe import Recipe
from model.study.layered import ROWS
from model.study.rows import BaseRefused


@pytest.fixture(scope="module")
def base():
    return read_recipe("layered-ablation-32")


@pytest.fixture(scope="module")
def recipes(base):
    return {name: row.recipe(base) for name, row in ROWS.items()}


def test_rows_are_named_after_the_base_and_share_data_text_and_training(base, recipes):
    assert [recipe.id for recipe in recipes.values()] == [f"{base.id}-{name}" for name in ROWS]
    for recipe in recipes.values():
        assert (recipe.data, recipe.text, recipe.sampling) == (base.data, base.text, base.sampling)
        assert recipe.training.model_copy(update={"seed": 0}) == base.training


def test_the_baseline_has_the_same_levels_and_costs_more(recipes):
    layered, single = recipes["layered"].network, recipes["single"].network
    assert single.scales == (32,)
    assert [level.width for level in single.core] == [16, 32, 64, 96]
    assert (single.core[2:], single.middle, single.outer) == (layered.core, layered.middle, ())
    saved = 1 - count_network(layered).macs / count_network(single).macs
    assert 0.1 < saved < 0.2  # the paper says 14 %


def test_every_row_leaves_the_highest_scale_its_schedule(recipes):
    schedules = {
        name: build_schedules(recipe.process, recipe.network.sides)
        for name, recipe in recipes.items()
    }
    assert {its[-1] for its in schedules.values()} == {schedules["layered"][-1]}
    assert len(set(schedules["layered"])) == len(set(schedules["independent"])) == 3
    assert len(set(schedules["unshifted"])) == 1


def test_noise_is_shared_or_independent(recipes):
    shared = {name: recipe.process.scales.shared for name, recipe in recipes.items()}
    assert shared["layered"] == shared["single"] == 1
    assert shared["independent"] == shared["unshifted"] == 0


def test_repetitions_differ_in_the_seed_alone(recipes):
    for name in ("layered", "single", "independent", "unshifted"):
        first, again = recipes[name], recipes[f"{name}-seed-1"]
        assert (again.network, again.process) == (first.network, first.process)
        assert again.training.seed == first.training.seed + 1


def changed(base, **parts):
    return Recipe.model_validate(
        base.model_dump() | {name: base.model_dump()[name] | new for name, new in parts.items()}
    )


def test_a_base_whose_rows_would_mean_something_else_is_refused(base):
    with pytest.raises(BaseRefused, match="got a network of kind 'dimr'"):
        ROWS["layered"].recipe(read_recipe("ablation-32"))
    with pytest.raises(BaseRefused, match="a layered one of two scales or more"):
        ROWS["single"].recipe(ROWS["single"].recipe(base))
    mixed = changed(base, process={"scales": {"shared": 0.5}})
    with pytest.raises(BaseRefused, match=r"delays None and shared 0\.5"):
        ROWS["independent"].recipe(mixed)
    wide = changed(base, network={"scales": [8, 32], "outer": [{"width": 16, "blocks": 1}]})
    with pytest.raises(BaseRefused, match=r"got scales \(8, 32\); allowed: each twice"):
        ROWS["single"].recipe(wide)
