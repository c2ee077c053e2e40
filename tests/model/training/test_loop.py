"""Training: that it learns, that it continues bit for bit, and that nothing spoils its weights."""

import math

import pytest
import torch

from model.denoisers.build import blocks_of
from model.specs.process import Prediction
from model.training import checkpoint
from model.training.distributed import World
from model.training.divergence import Diverged, is_finite

ALONE = World(0, 1, torch.device("cpu"))


def assert_same(one, other, **tolerance):
    one, other = one.tensors(ALONE), other.tensors(ALONE)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], **({"atol": 0, "rtol": 0} | tolerance))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_resumed_run_continues_bit_for_bit(trainer, tiny_recipe, tmp_path, precision):
    whole = trainer.start(tiny_recipe, precision=precision)
    assert trainer.run(tiny_recipe, tmp_path / "whole", whole)

    first = trainer.start(tiny_recipe, precision=precision)
    assert not trainer.run(tiny_recipe, tmp_path / "parts", first, stop_at=3)
    second = trainer.start(tiny_recipe, precision=precision)
    checkpoint.restore(tmp_path / "parts", second, ALONE)
    assert second.step == 3
    assert_same(second, first)
    assert trainer.run(tiny_recipe, tmp_path / "parts", second)
    assert_same(second, whole)
    assert second.arithmetic.scaler.state_dict() == whole.arithmetic.scaler.state_dict()


@pytest.mark.parametrize("prediction", list(Prediction))
def test_the_loss_falls_for_either_prediction(trainer, varied, tmp_path, prediction):
    recipe = varied(
        steps=150, batch=16, optimiser={"rate": 3e-3}, process={"prediction": prediction}
    )
    trainer.run(recipe, tmp_path, trainer.start(recipe))
    assert [report.step for report in trainer.reports] == [50, 100, 150]
    assert trainer.reports[-1].loss < 0.95 * trainer.reports[0].loss


@pytest.mark.parametrize(
    ("execution", "tolerance", "block_calls_a_step", "exact"),
    [
        ({"accumulate": 4}, 1e-5, 4, False),
        ({"checkpoint_activations": True}, 1e-7, 2, True),
        ({"precision": "bf16"}, 3e-2, 1, False),
        ({"precision": "fp16"}, 3e-2, 1, False),
    ],
)
def test_how_a_run_is_carried_out_changes_it_by_rounding_only(
    trainer, tiny_recipe, tmp_path, execution, tolerance, block_calls_a_step, exact
):
    plain = trainer.start(tiny_recipe)
    trainer.run(tiny_recipe, tmp_path / "plain", plain)
    other = trainer.start(tiny_recipe, **execution)
    calls = []
    blocks_of(other.network)[0].register_forward_pre_hook(lambda *_: calls.append(1))
    trainer.run(tiny_recipe, tmp_path / "other", other, **execution)
    assert len(calls) == block_calls_a_step * tiny_recipe.training.steps
    assert exact == (trainer.reports[1].loss == trainer.reports[0].loss)
    assert trainer.reports[1].loss == pytest.approx(trainer.reports[0].loss, rel=tolerance)
    names = [name for name in plain.tensors(ALONE) if name.startswith("network/")]
    for name in names:
        torch.testing.assert_close(
            other.tensors(ALONE)[name],
            plain.tensors(ALONE)[name],
            rtol=0,
            atol=max(tolerance, 1e-5),
        )


def test_a_loss_that_is_not_finite_is_diagnosed_and_the_state_before_it_kept(
    trainer, tiny_recipe, tmp_path
):
    state = trainer.start(tiny_recipe)

    def poison(step: int) -> None:
        if step == 2:
            trainer.data.x[:] = math.inf

    with pytest.raises(Diverged) as raised:
        trainer.run(tiny_recipe, tmp_path, state, after_step=poison)
    message = str(raised.value)
    assert "the loss is not finite at step 2" in message
    assert "the data of examples [0, 1, 2] of the batch are not finite" in message
    assert "losses (gradient norms) before: " in message
    assert checkpoint.newest(tmp_path) == tmp_path / "checkpoints" / "step-000000002"
    kept = trainer.start(tiny_recipe)
    checkpoint.restore(tmp_path, kept, ALONE)
    assert all(map(is_finite, kept.network.parameters()))
    assert_same(kept, state)


def test_weights_that_are_not_finite_are_named_and_never_saved(trainer, tiny_recipe, tmp_path):
    state = trainer.start(tiny_recipe)
    trainer.run(tiny_recipe, tmp_path, state, stop_at=2)
    with torch.no_grad():
        state.network.stages[0].position.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match=r"weights not finite: stages.0.position.weight"):
        trainer.run(tiny_recipe, tmp_path, state)
    assert trainer.saves == 1


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(trainer, tiny_recipe, tmp_path):
    state = trainer.start(tiny_recipe)
    before = {name: value.clone() for name, value in state.tensors(ALONE).items()}
    weight = state.network.stages[1].head.conv.weight
    weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(Diverged, match=r"gradients not finite: stages.1.head.conv.weight"):
        trainer.run(tiny_recipe, tmp_path, state)
    for name, value in state.tensors(ALONE).items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


def test_an_overflow_in_fp16_leaves_the_step_out_and_halves_the_scale(
    trainer, tiny_recipe, tmp_path
):
    state = trainer.start(tiny_recipe, precision="fp16")
    before = state.arithmetic.scaler.get_scale()
    weight = state.network.stages[1].head.conv.weight
    handle = weight.register_hook(lambda gradient: gradient * math.inf)
    start = weight.detach().clone()

    def mend(step: int) -> None:
        if step == 1:
            torch.testing.assert_close(weight.detach(), start, atol=0, rtol=0)
            handle.remove()

    assert trainer.run(tiny_recipe, tmp_path, state, after_step=mend, precision="fp16")
    assert state.arithmetic.scaler.get_scale() == before / 2
    assert not torch.equal(weight, start)
    assert all(map(is_finite, state.network.parameters()))


def test_losses_of_branches_and_gradient_norm_are_reported(trainer, varied, tmp_path):
    recipe = varied(optimiser={"clip_norm": None})
    trainer.run(recipe, tmp_path, trainer.start(recipe))
    (report,) = trainer.reports
    assert len(report.branches) == 2
    assert report.loss == pytest.approx(sum(report.branches))
    assert report.gradient_norm > 0
    assert set(report.numbers()) >= {"loss", "loss_branch_0", "gradient_norm", "rate"}


def test_the_loss_of_the_last_branch_alone_trains_what_it_depends_on(trainer, varied, tmp_path):
    recipe = varied(loss="last", optimiser={"weight_decay": 0.0})
    state = trainer.start(recipe)
    before = {n: p.detach().clone() for n, p in state.network.named_parameters()}
    trainer.run(recipe, tmp_path, state)
    assert trainer.reports[0].branches[0] == 0
    unmoved = {n for n, p in state.network.named_parameters() if torch.equal(p, before[n])}
    assert unmoved == {n for n in before if n.startswith("stages.0.head.")}
