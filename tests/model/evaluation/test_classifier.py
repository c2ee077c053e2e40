"""The judge of generated pictures."""

import pytest
import torch
from torch.testing import assert_close

from model.evaluation.augmentation import augment
from model.evaluation.classifier import (
    EMBEDDING,
    Classifier,
    ClassifierSpec,
    judge,
    train_classifier,
    weights_sha256,
)

SPEC = ClassifierSpec(steps=30, batch=8)


def nothing(step):
    """A reader of progress that does not look."""


@pytest.fixture
def pictures():
    """A bright top, a dark top, a red and a blue picture."""
    images = torch.ones(4, 3, 16, 16)
    images[0, :, 8:] = -1
    images[1, :, :8] = -1
    images[2, 1:] = -1
    images[3, :2] = -1
    return images, torch.arange(4)


@pytest.fixture
def short():
    return ClassifierSpec(steps=3, batch=4)


def test_it_learns_four_plainly_different_classes(pictures):
    images, labels = pictures
    classifier = train_classifier(images, labels, classes=4, spec=SPEC, on_step=nothing)
    unseen = augment(images.repeat(8, 1, 1, 1), torch.Generator().manual_seed(99))
    assert judge(classifier, unseen).logits.argmax(dim=1).tolist() == labels.tolist() * 8


def test_equal_arguments_give_equal_weights(pictures, short):
    images, labels = pictures
    first, second = (
        train_classifier(images, labels, classes=4, spec=short, on_step=nothing) for _ in range(2)
    )
    other = ClassifierSpec(steps=3, batch=4, seed=1)
    third = train_classifier(images, labels, classes=4, spec=other, on_step=nothing)
    assert weights_sha256(first) == weights_sha256(second) != weights_sha256(third)


def test_training_leaves_the_global_generator_alone(pictures, short):
    images, labels = pictures
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_classifier(images, labels, classes=4, spec=short, on_step=nothing)
    assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_every_step_is_reported(pictures, short):
    images, labels = pictures
    steps: list[int] = []
    train_classifier(images, labels, classes=4, spec=short, on_step=steps.append)
    assert steps == [1, 2, 3]


def test_it_is_small():
    assert sum(p.numel() for p in Classifier(96).parameters()) < 500_000


@pytest.mark.parametrize("side", [16, 32, 64])
def test_pictures_of_any_even_size_are_judged_in_parts_as_in_one(side):
    torch.manual_seed(0)
    classifier = Classifier(7).eval()
    images = torch.rand(5, 3, side, side) * 2 - 1
    whole, parts = judge(classifier, images), judge(classifier, images, batch=2)
    assert whole.logits.shape == (5, 7)
    assert_close(parts.logits, whole.logits)
    assert_close(
        whole.embedding.square().sum(dim=1), torch.full((5,), float(EMBEDDING)), rtol=0.01, atol=0
    )
