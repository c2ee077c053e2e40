"""Classes and prompts as a network's arguments."""

import pytest
import torch
from torch.testing import assert_close

from model.diffusion.errors import ParameterRejected
from model.sampling.conditions import ClassConditions, TextConditions, conditions_for

CPU = torch.device("cpu")


def test_classes_become_indices_and_the_null_class_is_last():
    conditions = ClassConditions(5)
    (rows,) = conditions.rows([0, 4, 2], CPU)
    (null,) = conditions.null(2, CPU)
    assert_close(rows, torch.tensor([0, 4, 2]))
    assert_close(null, torch.tensor([5, 5]))


def test_prompts_become_their_token_states(prompts):
    states, mask = TextConditions(prompts).rows(["red apple", "owl"], CPU)
    expected_states, expected_mask = prompts.states(["red apple", "owl"])
    assert_close(states, expected_states, rtol=0, atol=0)
    assert_close(mask, expected_mask)
    assert mask.dtype == torch.bool


def test_the_null_prompt_is_the_empty_one(prompts):
    conditions = TextConditions(prompts)
    for null, empty in zip(conditions.null(3, CPU), conditions.rows([""] * 3, CPU), strict=True):
        assert_close(null, empty, rtol=0, atol=0)


@pytest.mark.parametrize("wanted", [-1, 5])
def test_a_class_out_of_range_is_refused(wanted):
    with pytest.raises(ParameterRejected, match=f"label: got {wanted}; allowed: 0 to 4"):
        ClassConditions(5).rows([0, wanted], CPU)


def test_a_prompt_is_no_class():
    with pytest.raises(ParameterRejected, match="prompt: got 'owl'; allowed: a class"):
        ClassConditions(5).rows(["owl"], CPU)


def test_a_class_is_no_prompt(prompts):
    with pytest.raises(ParameterRejected, match="label: got 3; allowed: a prompt"):
        TextConditions(prompts).rows(["owl", 3], CPU)


def test_a_network_is_given_what_it_reads(tiny_recipe, layered_recipe, prompts):
    assert conditions_for(tiny_recipe.network, None) == ClassConditions(3)
    assert conditions_for(layered_recipe.network, prompts) == TextConditions(prompts)


def test_a_network_that_reads_texts_needs_what_reads_them(layered_recipe):
    with pytest.raises(ParameterRejected, match="prompts: got None; allowed: a text encoder"):
        conditions_for(layered_recipe.network, None)
