"""What a step draws and what it is measured by."""

import pytest
import torch

from model.denoisers.build import build_denoiser
from model.diffusion.build import build_schedules
from model.diffusion.pyramid import image_operator, resample
from model.sampling.conditions import conditions_for
from model.specs.recipe import Recipe
from model.training.objective import Objective


def drawn(recipe, step=0, part=None):
    part = part or slice(0, recipe.training.batch)
    count = part.stop - part.start
    x0, labels = torch.zeros(count, 12, 8, 8), torch.arange(count) % 3
    objective = Objective(recipe, conditions_for(recipe.network, None))
    return objective.draw(step, x0, labels, part)


@pytest.fixture
def layered(layered_recipe, prompts):
    """The objective of a layered recipe with other values, and how to draw for it."""

    def make(process=None, network=None, **training):
        values = layered_recipe.model_dump(mode="json")
        values["training"] |= training
        values["process"] |= process or {}
        values["network"] |= network or {}
        recipe = Recipe.model_validate(values)
        return Objective(recipe, conditions_for(recipe.network, prompts))

    return make


def draw(objective, step=0, part=None, side=32):
    part = part or slice(0, objective.recipe.training.batch)
    generator = torch.Generator().manual_seed(1)
    whole = torch.rand(objective.recipe.training.batch, 3, side, side, generator=generator) * 2 - 1
    captions = [f"thing {k}" for k in range(len(whole))]
    return objective.draw(step, whole[part], captions[part], part)


def test_times_are_stratified_and_classes_are_dropped_at_the_stated_rate(varied):
    batch = drawn(varied(batch=1000, condition_dropout=0.1))
    edges = torch.histc(batch.t, bins=100, min=0.01, max=0.99)
    assert edges.min() >= 9
    assert edges.max() <= 11
    assert 60 < (batch.condition[0] == 3).sum() < 140


def test_discrete_times_are_whole_thousandths_and_reach_both_ends(varied):
    batch = drawn(varied(batch=20_000, times="discrete", process={"t_min": 0.001, "t_max": 1.0}))
    torch.testing.assert_close(batch.t * 1000, (batch.t * 1000).round(), atol=1e-3, rtol=0)
    assert batch.t.min() == torch.tensor(0.001)
    assert batch.t.max() == 1


def test_a_part_of_a_batch_is_drawn_as_it_is_in_the_whole(varied):
    recipe = varied(batch=96)
    whole = drawn(recipe, step=7)
    for start, stop in ((0, 48), (48, 96), (40, 56), (95, 96)):
        part = drawn(recipe, step=7, part=slice(start, stop))
        torch.testing.assert_close(part.noise[0], whole.noise[0][start:stop], atol=0, rtol=0)
        torch.testing.assert_close(part.t, whole.t[start:stop], atol=0, rtol=0)
        assert ((part.condition[0] == 3) == (whole.condition[0][start:stop] == 3)).all()


def test_no_two_steps_and_no_two_examples_share_their_noise(varied):
    recipe = varied(batch=64)
    (first,), (second,) = drawn(recipe, step=0).noise, drawn(recipe, step=1).noise
    assert len(torch.cat((first, second)).flatten(1).unique(dim=0)) == 128


def test_parts_of_a_batch_make_up_the_whole_in_order(layered):
    batch = draw(layered(batch=6, crop={"side": 4}, process={"scales": {"shared": 0.5}}))
    parts = batch.parts(3)
    assert [len(part.t) for part in parts] == [2, 2, 2]
    for index in range(3):
        whole = torch.cat([part.noise[index] for part in parts])
        torch.testing.assert_close(whole, batch.noise[index], atol=0, rtol=0)
    torch.testing.assert_close(torch.cat([p.window for p in parts]), batch.window)
    torch.testing.assert_close(torch.cat([p.condition[0] for p in parts]), batch.condition[0])


def test_the_noisy_images_of_two_scales_are_one_image_on_every_batch(layered):
    objective = layered(batch=256)
    batch = draw(objective)
    schedules = build_schedules(objective.recipe.process, (8, 16, 32))
    inputs, _ = objective.states(batch)
    alphas = [schedule.alpha(batch.t)[:, None, None, None] for schedule in schedules]
    for low in (0, 1):
        reduced = resample(inputs[2], image_operator(32, inputs[low].shape[-1]))
        wanted = alphas[low] / alphas[2] * reduced
        torch.testing.assert_close(inputs[low], wanted, atol=2e-5, rtol=1e-4)


def test_independent_noise_breaks_the_identity_and_keeps_its_variance(layered):
    objective = layered(batch=64, process={"scales": {"shared": 0.0, "reference": 32}})
    batch = draw(objective)
    inputs, _ = objective.states(batch)
    reduced = resample(inputs[2], image_operator(32, 8))
    assert (inputs[0] - reduced).square().mean() > 0.01
    whole = batch.noise[0]
    assert abs(whole.std().item() - 1) < 0.05


def test_larger_pictures_are_reduced_to_the_highest_scale(layered):
    small = layered(network={"scales": [8], "outer": []})
    whole = layered()
    low, _ = small.states(draw(small))
    assert [x.shape[-1] for x in low] == [8]
    alpha = build_schedules(small.recipe.process, (8,))[0].alpha(torch.tensor([0.01]))
    assert alpha > 0.99
    batch = draw(whole)
    first = whole._pyramid.images(batch.x0)[0]
    second = small._pyramid.images(batch.x0)[0]
    torch.testing.assert_close(first, second)


def test_captions_are_withheld_at_the_stated_rate_for_the_empty_prompt(layered, prompts):
    batch = draw(layered(batch=400, condition_dropout=0.25))
    empty, mask = prompts.states([""])
    withheld = (batch.condition[0] == empty).all(2).all(1)
    assert 70 < withheld.sum() < 130
    assert (batch.condition[1][withheld] == mask).all()


def test_what_is_not_withheld_is_what_an_example_shows(layered, prompts):
    batch = draw(layered(batch=40, condition_dropout=0.5))
    states, mask = prompts.states([f"thing {k}" for k in range(40)])
    empty, _ = prompts.states([""])
    shown = (batch.condition[0] != empty).any(2).any(1)
    assert 5 < shown.sum() < 35
    assert batch.condition[0][shown].equal(states[shown])
    assert batch.condition[1][shown].equal(mask[shown])


def test_the_error_of_the_noise_is_alpha_squared_that_of_the_velocity(layered):
    velocity, noise = layered(batch=1), layered(batch=1, measured="noise")
    network = build_denoiser(velocity.recipe.network)
    batch = draw(velocity)
    schedules = build_schedules(velocity.recipe.process, (8, 16, 32))
    alphas = torch.cat([schedule.alpha(batch.t) for schedule in schedules])
    found = noise.losses(network, batch)
    torch.testing.assert_close(found, alphas.square() * velocity.losses(network, batch))


def test_scales_count_as_they_are_weighted(layered):
    network = build_denoiser(layered().recipe.network)
    batch = draw(layered())
    plain = layered().losses(network, batch)
    weighted = layered(scale_weights=[4, 0, 0.5]).losses(network, batch)
    torch.testing.assert_close(weighted, plain * torch.tensor([4.0, 0, 0.5]))
    last = layered(loss="last").losses(network, batch)
    torch.testing.assert_close(last, plain * torch.tensor([0.0, 0, 1]))


def test_a_crop_cuts_higher_scales_to_one_window_and_leaves_the_lowest_whole(layered):
    objective, whole = layered(batch=5, crop={"side": 3}), layered(batch=5)
    batch, full = draw(objective), draw(whole)
    assert batch.window.min() >= 0
    assert batch.window.max() <= 5
    for cropped, plain in zip(objective.states(batch), whole.states(full), strict=True):
        torch.testing.assert_close(cropped[0], plain[0])
        for index, ratio in ((1, 2), (2, 4)):
            for sample, (row, column) in enumerate(batch.window.tolist()):
                rows, columns = (slice(ratio * at, ratio * (at + 3)) for at in (row, column))
                torch.testing.assert_close(
                    cropped[index][sample], plain[index][sample][:, rows, columns]
                )


def test_windows_differ_and_reach_every_corner(layered):
    objective = layered(batch=400, crop={"side": 7})
    found = {tuple(corner) for corner in draw(objective).window.tolist()}
    assert found == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_the_last_steps_see_whole_images(layered):
    objective = layered(steps=10, crop={"side": 4, "share": 0.7})
    assert [draw(objective, step).window is None for step in range(10)] == [False] * 7 + [True] * 3
