"""What a step draws."""

import torch

from model.training.objective import draw_batch


def drawn(recipe, step=0, part=None):
    part = part or slice(0, recipe.training.batch)
    count = part.stop - part.start
    x0, labels = torch.zeros(count, 12, 8, 8), torch.arange(count) % 3
    return draw_batch(recipe, step, x0, labels, part)


def test_times_are_stratified_and_classes_are_dropped_at_the_stated_rate(varied):
    batch = drawn(varied(batch=1000, class_dropout=0.1))
    edges = torch.histc(batch.t, bins=100, min=0.01, max=0.99)
    assert edges.min() >= 9
    assert edges.max() <= 11
    assert 60 < (batch.y == 3).sum() < 140


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
        for name in ("noise", "t"):
            torch.testing.assert_close(
                getattr(part, name), getattr(whole, name)[start:stop], atol=0, rtol=0
            )
        assert ((part.y == 3) == (whole.y[start:stop] == 3)).all()


def test_no_two_steps_and_no_two_examples_share_their_noise(varied):
    recipe = varied(batch=64)
    first, second = drawn(recipe, step=0).noise, drawn(recipe, step=1).noise
    assert len(torch.cat((first, second)).flatten(1).unique(dim=0)) == 128


def test_parts_of_a_batch_make_up_the_whole_in_order(varied):
    batch = drawn(varied(batch=6))
    parts = batch.parts(3)
    assert [len(part.t) for part in parts] == [2, 2, 2]
    torch.testing.assert_close(torch.cat([p.noise for p in parts]), batch.noise, atol=0, rtol=0)
