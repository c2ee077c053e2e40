"""The record of how well scales agree."""

import torch
from torch.testing import assert_close

from model.diffusion.pyramid import Pyramid
from model.sampling.consistency import ConsistencyMonitor

PYRAMID = Pyramid((4, 8, 16))


def predictions(count, factor, seed=0):
    """Reductions of one image, the lowest of them scaled by `factor`."""
    image = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    low, middle, high = PYRAMID.images(image)
    return factor * low, middle, high


def test_a_mean_is_over_the_images_of_all_batches():
    monitor = ConsistencyMonitor(PYRAMID)
    for count, factor in ((3, 2.0), (1, 4.0)):
        monitor(1, (), predictions(count, factor))
    assert_close(monitor.means, torch.tensor([[(3 * 0.5 + 0.75) / 4, 0.0]]), rtol=0, atol=1e-5)


def test_each_call_has_a_row():
    monitor = ConsistencyMonitor(PYRAMID)
    for calls, factor in ((1, 4.0), (2, 2.0), (3, 1.0)):
        monitor(calls, (), predictions(2, factor))
    assert_close(monitor.means[:, 0], torch.tensor([0.75, 0.5, 0.0]), rtol=0, atol=1e-5)


def test_the_lowest_scales_may_be_watched_alone():
    monitor = ConsistencyMonitor(PYRAMID)
    monitor(1, (), predictions(2, 2.0)[:2])
    assert_close(monitor.means, torch.tensor([[0.5]]), rtol=0, atol=1e-5)
