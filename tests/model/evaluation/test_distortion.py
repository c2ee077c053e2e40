"""Which samples a classifier does not recognise."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from model.evaluation.archive import ImageArchive
from model.evaluation.classifier import Classifier
from model.evaluation.distortion import (
    by_class,
    chosen_images,
    intended_probabilities,
    low_fidelity,
    scripted_judge,
    small_judge,
)
from model.evaluation.errors import FileRefused

CPU = torch.device("cpu")
PROBABILITIES = torch.tensor([0.9, 0.05, 0.5, 0.01, 0.1])
LABELS = np.array([0, 0, 2, 2, 2])


class Colours(nn.Module):
    """Mean colours as logits."""

    def forward(self, x):
        return x.mean(dim=(2, 3))


class Nothing(nn.Module):
    """No logits."""

    def forward(self, x):
        return x


@pytest.fixture
def scripted(tmp_path):
    def save(module):
        path = tmp_path / "classifier.pt"
        with warnings.catch_warnings():  # PyTorch would rather have users export
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.trace(module, torch.zeros(1, 3, 8, 8)).save(path)
        return path

    return save


@pytest.fixture
def archive(tmp_path, pictures):
    np.savez(tmp_path / "samples.npz", pictures(70))
    return ImageArchive.open(tmp_path / "samples.npz"), pictures(70)


def test_low_fidelity_is_below_the_threshold_and_worst_first():
    found = low_fidelity(PROBABILITIES, LABELS, 0.1)
    assert [(entry.index, entry.label) for entry in found] == [(3, 2), (1, 0)]
    assert found[0].probability == pytest.approx(0.01)
    assert low_fidelity(PROBABILITIES, LABELS, 0.0) == ()


def test_rates_are_of_classes_that_have_images():
    worst, best = by_class(PROBABILITIES, LABELS, 0.2, ("apple", "pear"))
    assert (worst.name, worst.images, worst.low_fidelity) == ("2", 3, 2)
    assert worst.rate == pytest.approx(2 / 3)
    assert worst.mean_probability == pytest.approx((0.5 + 0.01 + 0.1) / 3)
    assert (best.name, best.rate) == ("apple", 0.5)


def test_a_probability_is_that_of_the_intended_class(archive, scripted):
    samples, images = archive
    judge = scripted_judge(scripted(Colours()), side=None, mean=(0,) * 3, std=(1,) * 3, device=CPU)
    labels = np.arange(70) % 3
    told: list[tuple[float, int]] = []
    found = intended_probabilities(
        samples, labels, judge, batch=32, show=lambda _, done, total: told.append((done, total))
    )
    means = torch.from_numpy(images).float().div(255).mean(dim=(1, 2)).softmax(dim=1)
    assert_close(found, means[range(70), labels])
    assert told == [(32, 70), (64, 70), (70, 70)]


def test_images_are_normalised_and_resized_for_the_classifier(pictures, scripted):
    images = pictures(2)
    path = scripted(Colours())
    plain = scripted_judge(path, side=None, mean=(0, 0, 0), std=(1, 1, 1), device=CPU)(images)
    other = scripted_judge(path, side=8, mean=(0.5, 0, 0.1), std=(1, 2, 0.5), device=CPU)(images)
    expected = (plain - torch.tensor([0.5, 0, 0.1])) / torch.tensor([1, 2, 0.5])
    assert_close(other, expected, rtol=0, atol=0.01)


def test_the_small_classifier_judges_as_it_does_elsewhere(pictures):
    classifier = Classifier(3).eval()
    images = pictures(2)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert_close(small_judge(classifier)(images), classifier(x).logits)


def test_a_label_that_the_classifier_does_not_know_is_refused(archive, scripted):
    samples, _ = archive
    judge = scripted_judge(scripted(Colours()), side=None, mean=(0,) * 3, std=(1,) * 3, device=CPU)
    with pytest.raises(FileRefused, match="labels from 3 to 3; allowed: 0 to 2"):
        intended_probabilities(samples, np.full(70, 3), judge, batch=8, show=lambda *_: None)


def test_what_is_no_classifier_is_refused(tmp_path, pictures, scripted):
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(FileRefused, match="no TorchScript module"):
        scripted_judge(tmp_path / "text.pt", side=None, mean=(0,) * 3, std=(1,) * 3, device=CPU)
    judge = scripted_judge(scripted(Nothing()), side=None, mean=(0,) * 3, std=(1,) * 3, device=CPU)
    with pytest.raises(FileRefused, match="does not return logits"):
        judge(pictures(2))


def test_images_are_shown_in_the_order_asked_for(archive):
    samples, images = archive
    found = chosen_images(samples, [69, 3, 64])
    np.testing.assert_array_equal(np.stack(found), images[[69, 3, 64]])
