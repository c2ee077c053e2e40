"""Precision and recall."""

import pytest
import torch
from torch.testing import assert_close

from model.evaluation.manifold import coverage, radii


@pytest.fixture
def sets():
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(60, 5, generator=generator)
    real = torch.randn(45, 5, generator=generator) * 1.3 + 0.4
    return samples, real


def test_it_agrees_with_the_foreign_library(sets, fidelity):
    found = fidelity["prc"].calculate_precision_recall_full(*sets, 3, 10_000)
    assert coverage(*sets) == pytest.approx(found)
    assert 0.2 < found[0] < 1
    assert 0.2 < found[1] < 1


def test_it_agrees_with_its_definition(sets):
    samples, real = (features.double() for features in sets)
    within = torch.cdist(real, real).sort(dim=1).values[:, 3]
    precision = (torch.cdist(samples, real) <= within).any(dim=1).double().mean()
    assert coverage(*sets).precision == pytest.approx(precision.item())


@pytest.mark.parametrize("chunk", [1, 7, 45, 60])
def test_chunks_change_nothing(sets, chunk):
    assert coverage(*sets, chunk=chunk) == coverage(*sets)
    assert_close(radii(sets[0], chunk=chunk), radii(sets[0]))


def test_the_radius_is_the_squared_distance_to_the_third_other():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0], [20.0]])
    assert_close(radii(line), torch.tensor([49.0, 36.0, 16.0, 49.0, 19.0**2]))


def test_copies_of_real_images_are_precise_and_far_ones_are_not(sets):
    real = sets[1]
    assert coverage(real, real) == (1, 1)
    assert coverage(real + 100, real) == (0, 0)


def test_many_samples_like_one_real_image_are_precise_but_recall_little(sets):
    real = sets[1]
    found = coverage(real[:1] + sets[0] / 1000, real)
    assert found.precision == 1
    assert found.recall <= 1 / 45
