"""Measures on inputs whose answers are known."""

import pytest
import torch
from torch.testing import assert_close

from model.evaluation.measures import (
    Accuracy,
    Gaussian,
    accuracy,
    frechet_distance,
    hits,
    inception_score,
    mean_by_class,
    nearest_rmse,
    summary,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def standardised(count, dims, generator):
    """Features whose sample mean is exactly 0 and whose sample covariance is exactly 1."""
    raw = torch.randn(count, dims, generator=generator, dtype=torch.float64)
    raw = raw - raw.mean(dim=0)
    return torch.linalg.qr(raw).Q * (count - 1) ** 0.5


def distance(first, second):
    """The distance of the normal distributions of two sets of features."""
    return frechet_distance(Gaussian.of(first), Gaussian.of(second))


def test_accuracy_counts_first_and_first_five():
    logits = torch.arange(8.0).repeat(4, 1)  # the last class leads, then the one before, ...
    labels = torch.tensor([7, 6, 3, 2])
    assert accuracy(logits, labels) == Accuracy(top1=0.25, top5=0.75)
    assert hits(logits, labels, 2).tolist() == [True, True, False, False]


def test_with_fewer_than_five_classes_everything_is_among_the_first_five():
    assert accuracy(torch.eye(3), torch.tensor([1, 1, 2])) == Accuracy(top1=2 / 3, top5=1.0)


def test_means_are_taken_class_by_class():
    values = torch.tensor([1.0, 0.0, 1.0, 1.0])
    means = mean_by_class(values, torch.tensor([0, 0, 2, 2]), 3)
    assert_close(means[[0, 2]], torch.tensor([0.5, 1.0], dtype=torch.float64))
    assert means[1].isnan()


def test_a_copy_is_at_distance_zero_and_black_from_white_at_two():
    references = torch.stack([torch.ones(3, 8, 8), torch.linspace(-1, 1, 192).view(3, 8, 8)])
    images = torch.stack([references[1], -torch.ones(3, 8, 8)])
    distances = nearest_rmse(images, references[:1])
    assert_close(distances[1], torch.tensor(2.0))
    assert nearest_rmse(images, references)[0] == 0


def test_a_distance_is_the_root_of_the_mean_square(generator):
    images = torch.randn(3, 3, 4, 4, generator=generator)
    references = torch.randn(5, 3, 4, 4, generator=generator)
    by_hand = (images[:, None] - references).square().mean(dim=(2, 3, 4)).sqrt().amin(dim=1)
    assert_close(nearest_rmse(images, references), by_hand)


def test_a_tiny_difference_is_not_lost_to_rounding():
    image = torch.linspace(-1, 1, 3072).view(1, 3, 32, 32)
    assert_close(nearest_rmse(image + 1e-4, image), torch.tensor([1e-4]), rtol=0.01, atol=0)


def test_a_summary_names_quantiles_and_near_copies():
    found = summary(torch.cat([torch.zeros(5), torch.linspace(0.1, 1, 95)]))
    assert found.share_of_copies == pytest.approx(0.05)
    assert found.median == pytest.approx(0.531, abs=0.01)
    assert found.p5 < 0.11
    assert found.p95 == pytest.approx(0.953, abs=0.01)


def test_frechet_distance_of_diagonal_gaussians_is_the_closed_form(generator):
    base = standardised(500, 4, generator)
    shift = torch.tensor([3.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    a = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    b = torch.tensor([2.0, 1.0, 0.5, 3.0], dtype=torch.float64)
    expected = shift.square().sum() + (a - b).square().sum()
    assert distance(base * a, base * b + shift) == pytest.approx(expected.item())


def test_frechet_distance_of_rotated_gaussians_is_the_closed_form(generator):
    # In two dimensions tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) for the product M of covariances.
    base = standardised(400, 2, generator)
    first = base @ torch.tensor([[2.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    second = base @ torch.tensor([[1.0, -0.5], [0.3, 2.0]], dtype=torch.float64)
    c_1, c_2 = first.T.cov(), second.T.cov()
    product = c_1 @ c_2
    cross = (product.trace() + 2 * torch.linalg.det(product).sqrt()).sqrt()
    expected = c_1.trace() + c_2.trace() - 2 * cross
    assert distance(first, second) == pytest.approx(expected.item())


def test_frechet_distance_is_symmetric_and_nothing_to_itself(generator):
    first = torch.randn(40, 6, generator=generator)
    second = torch.randn(40, 6, generator=generator) * 2 + 1
    assert distance(first, first) == pytest.approx(0, abs=1e-9)
    assert distance(first, second) == pytest.approx(distance(second, first))


def test_frechet_distance_stands_fewer_pictures_than_features(generator):
    few = torch.randn(5, 64, generator=generator)
    assert distance(few, few + 1) == pytest.approx(64, rel=1e-6)


def test_frechet_distance_is_the_foreign_librarys(generator, fidelity):
    first = torch.randn(200, 32, generator=generator)
    second = torch.randn(150, 32, generator=generator) @ torch.randn(32, 32, generator=generator)
    statistics = [
        fidelity["fid"].fid_features_to_statistics(features.double())
        for features in (first, second)
    ]
    expected = fidelity["fid"].fid_statistics_to_metric(*statistics, verbose=False)
    assert distance(first, second) == pytest.approx(expected["frechet_inception_distance"])


def test_the_inception_score_is_the_foreign_librarys(generator, fidelity):
    logits = 3 * torch.randn(100, 20, generator=generator)
    expected = fidelity["isc"].isc_features_to_metric(logits, splits=4, shuffle=False)
    found = inception_score(logits, split=25)
    assert found == pytest.approx(expected["inception_score_mean"])


def test_the_inception_score_of_one_class_is_one_and_of_all_classes_their_number():
    certain = 100 * torch.eye(8)
    assert inception_score(certain[:1].repeat(16, 1)) == pytest.approx(1)
    assert inception_score(certain.repeat(5, 1)) == pytest.approx(8)


def test_the_inception_score_of_sorted_samples_is_lower():
    certain = 100 * torch.eye(8)
    assert inception_score(certain.repeat_interleave(4, dim=0), split=16) == pytest.approx(4)
    assert inception_score(certain.repeat(4, 1), split=16) == pytest.approx(8)
