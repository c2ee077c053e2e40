"""The rows of DiMR's ablation tables, at the paper's size and at the shipped one."""

import pytest

from model.denoisers.counting import count_network
from model.specs.files import read_recipe
from model.specs.training import Loss
from model.study.dimr import ROWS
from model.study.rows import BaseRefused

NULL_ROW = 768  # the paper's U-ViT has an embedding for each class, ours one more for guidance


@pytest.fixture(scope="module")
def paper():
    return read_recipe("dimr-m3r-64")


@pytest.mark.parametrize(
    ("row", "parameters"),
    [
        ("uvit", 130_940_292 + NULL_ROW),  # 130.9 M
        ("uvit-adaln", 202_401_156 + NULL_ROW),  # 202.4 M
        ("adaln", 217_938_825),  # 217.9 M; the paper does not say how
        ("td-ln", 153_954_057),  # 154.0 M
        ("glu", 132_941_577),  # 132.9 M
        ("dimr", 132_941_577),  # 132.9 M
        ("td-rmsnorm", 132_828_681),
    ],
)
def test_the_rows_of_table_2_count_what_the_paper_says(paper, row, parameters):
    assert count_network(ROWS[row].recipe(paper).network).parameters == parameters


@pytest.mark.parametrize("base", ["dimr-m3r-64", "dimr-xl2r-256", "ablation-32"])
def test_every_row_can_be_made_from_every_base_and_is_named_after_both(base):
    recipe = read_recipe(base)
    made = [row.recipe(recipe) for row in ROWS.values()]
    assert [r.id for r in made] == [f"{base}-{name}" for name in ROWS]
    assert all(r.process == recipe.process and r.data == recipe.data for r in made)


def test_rows_differ_in_what_they_compare_and_in_nothing_else():
    base = read_recipe("ablation-32")
    recipes = {name: row.recipe(base) for name, row in ROWS.items()}
    assert recipes["glu"].network == recipes["dimr"].network
    assert (recipes["glu"].training.loss, recipes["dimr"].training.loss) == (
        Loss.LAST,
        Loss.MULTI_SCALE,
    )
    assert recipes["dimr-seed-1"].network == recipes["dimr"].network
    seeds = [recipes[f"dimr{suffix}"].training.seed for suffix in ("", "-seed-1", "-seed-2")]
    assert len(set(seeds)) == 3
    networks = [recipe.network for name, recipe in recipes.items() if "seed" not in name]
    assert len({network.model_dump_json() for network in networks}) == len(networks) - 1


def test_a_base_without_a_transformer_is_refused():
    base = read_recipe("ablation-32")
    with pytest.raises(BaseRefused, match="got a network of kind 'uvit'"):
        ROWS["dimr"].recipe(ROWS["uvit"].recipe(base))
