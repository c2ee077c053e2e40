"""Augmentation of pictures."""

import torch
from torch.testing import assert_close

from model.evaluation.augmentation import augment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def squares(count, side=32):
    """Black squares in the middle of white."""
    images = torch.ones(count, 3, side, side)
    images[:, :, side // 4 : -side // 4, side // 4 : -side // 4] = -1
    return images


def test_equal_generators_change_pictures_equally():
    images = squares(4)
    assert_close(augment(images, generator(3)), augment(images, generator(3)), rtol=0, atol=0)
    assert (augment(images, generator(3)) - augment(images, generator(4))).abs().max() > 0.1


def test_each_picture_of_a_batch_is_changed_by_amounts_of_its_own():
    changed = augment(squares(2), generator())
    assert (changed[0] - changed[1]).abs().max() > 0.1


def test_pictures_stay_in_range():
    changed = augment(squares(64), generator())
    assert changed.shape == (64, 3, 32, 32)
    assert changed.min() >= -1
    assert changed.max() <= 1


def test_what_moves_in_from_outside_is_white():
    blacks = augment(-torch.ones(64, 3, 32, 32), generator())
    assert (blacks[:, :, 12:20, 12:20] < -0.4).all()
    assert (blacks[:, :, 0].mean(dim=(1, 2)) > 0.5).any()


def test_what_a_picture_shows_moves_by_three_pixels_at_most():
    dark = (augment(squares(256), generator()) < 0).all(dim=1).float()
    rows = torch.arange(32).float() + 0.5
    centre = (dark.sum(dim=2) * rows).sum(dim=1) / dark.sum(dim=(1, 2)) - 16
    assert centre.abs().max() < 3 * 1.15 * 1.2  # shifts are scaled and turned with the picture
    assert centre.abs().max() > 2
