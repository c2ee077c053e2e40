"""Training: what a step draws, that it learns, and that it continues bit for bit."""

import json

import pytest
import torch

from model.specs.process import Prediction
from model.specs.training import OptimiserSpec
from model.training import checkpoint
from model.training.data import batch_indices
from model.training.loop import LossDiverged, draw_batch, new_state, rate_at, train


def run(recipe, data, folder, state, stop_at=None):
    folder.mkdir(exist_ok=True)
    return train(
        recipe,
        data,
        folder,
        state,
        checkpoint_every_s=1e9,
        report=lambda _: None,
        stopping=lambda: state.step == stop_at,
    )


def assert_same(one, other):
    assert one.tensors().keys() == other.tensors().keys()
    for name, value in one.tensors().items():
        torch.testing.assert_close(value, other.tensors()[name], atol=0, rtol=0)


def test_a_resumed_run_continues_bit_for_bit(tiny_recipe, tiny_data, tmp_path):
    whole = new_state(tiny_recipe)
    assert run(tiny_recipe, tiny_data, tmp_path / "whole", whole)

    first = new_state(tiny_recipe)
    assert not run(tiny_recipe, tiny_data, tmp_path / "parts", first, stop_at=3)
    second = new_state(tiny_recipe)
    checkpoint.restore(tmp_path / "parts", second)
    assert second.step == 3
    assert_same(second, first)
    assert run(tiny_recipe, tiny_data, tmp_path / "parts", second)
    assert_same(second, whole)


@pytest.mark.parametrize("prediction", list(Prediction))
def test_the_loss_falls_for_either_prediction(tiny_recipe, tiny_data, tmp_path, prediction):
    values = tiny_recipe.model_dump()
    values["process"]["prediction"] = prediction
    values["training"] |= {"steps": 150, "batch": 16}
    values["training"]["optimiser"] |= {"rate": 3e-3}
    recipe = type(tiny_recipe).model_validate(values)
    run(recipe, tiny_data, tmp_path, new_state(recipe))
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[-1] < 0.95 * losses[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_saved(
    tiny_recipe, tiny_data, tmp_path
):
    state = new_state(tiny_recipe)
    run(tiny_recipe, tiny_data, tmp_path, state, stop_at=2)
    next(state.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(LossDiverged, match="at step 2"):
        run(tiny_recipe, tiny_data, tmp_path, state)
    assert checkpoint.newest(tmp_path) == tmp_path / "checkpoints" / "step-000000002"


def test_only_the_newest_checkpoints_are_kept_and_half_written_ones_do_not_count(
    tiny_recipe, tmp_path
):
    state = new_state(tiny_recipe)
    for step in (1, 2, 3):
        state.step = step
        checkpoint.save(tmp_path, state)
    (tmp_path / "checkpoints" / ".step-000000009.77").mkdir()
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("step-*"))
    assert names == ["step-000000002", "step-000000003"]
    assert checkpoint.newest(tmp_path) == tmp_path / "checkpoints" / "step-000000003"


def test_resuming_nothing_is_refused(tiny_recipe, tmp_path):
    with pytest.raises(checkpoint.ResumeRefused, match="no checkpoint"):
        checkpoint.restore(tmp_path, new_state(tiny_recipe))


def test_gates_are_not_decayed_and_everything_else_is(tiny_recipe):
    state = new_state(tiny_recipe)
    decayed, free = state.optimiser.param_groups
    names = {id(p): n for n, p in state.network.named_parameters()}
    assert free["weight_decay"] == 0
    assert decayed["weight_decay"] == tiny_recipe.training.optimiser.weight_decay
    assert all(names[id(p)].endswith((".slope", ".offset")) for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_the_rate_warms_up_holds_and_falls_to_its_floor():
    spec = OptimiserSpec(rate=2.0, warmup_steps=10, tail=0.5, tail_floor=0.1)
    rates = [rate_at(step, 100, spec) for step in (0, 5, 10, 50, 75, 100)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 2.0, 1.1, 0.2])


def test_every_epoch_sees_every_example_once_in_a_new_order():
    order = torch.cat([batch_indices(step, 4, 10, seed=1) for step in range(5)]).tolist()
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]


def test_times_are_stratified_and_classes_are_dropped_at_the_stated_rate(tiny_recipe, tiny_data):
    values = tiny_recipe.model_dump()
    values["training"] |= {"batch": 1000, "class_dropout": 0.1}
    batch = draw_batch(tiny_data, 0, type(tiny_recipe).model_validate(values))
    edges = torch.histc(batch.t, bins=100, min=0.01, max=0.99)
    assert edges.min() >= 9
    assert edges.max() <= 11
    assert 60 < (batch.y == 3).sum() < 140
