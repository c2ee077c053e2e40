"""Figures to watch while training."""

import numpy as np
import pytest
import torch

from model.data.source import to_unit
from model.evaluation.augmentation import augment
from model.evaluation.classifier import ClassifierSpec
from model.evaluation.inception import load_inception
from model.evaluation.monitor import inception_monitor, small_monitor


@pytest.fixture
def real():
    """Plain pictures of three colours, eight of each, and their classes."""
    labels = np.arange(24, dtype=np.int64) % 3
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    images = np.broadcast_to(colours[labels][:, None, None], (24, 16, 16, 3)).copy()
    images[:, ::4] //= (2 + np.arange(24, dtype=np.uint8))[:, None, None, None]
    return images, labels


def test_the_small_monitor_tells_likeness_and_accuracy(real):
    images, labels = real
    steps: list[int] = []
    monitor = small_monitor(
        to_unit(images),
        torch.from_numpy(labels),
        classes=3,
        spec=ClassifierSpec(steps=20, batch=12),
        on_step=steps.append,
    )
    assert steps[-1] == 20
    same = monitor(images, labels)
    assert set(same) == {"small_feature_frechet", "class_accuracy"}
    assert same["small_feature_frechet"] == pytest.approx(0, abs=1e-4)
    assert same["class_accuracy"] == 1
    assert monitor(images, (labels + 1) % 3)["class_accuracy"] == 0
    noise = augment(torch.zeros(24, 3, 16, 16), torch.Generator().manual_seed(0))
    levels = ((noise + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
    assert monitor(levels, labels)["small_feature_frechet"] > 1


@pytest.mark.slow  # eigenvalues of 2048 x 2048
def test_the_inception_monitor_tells_fid(real, inception_weights, tmp_path):
    images, labels = real
    np.savez(tmp_path / "real.npz", images[:2])
    cpu = torch.device("cpu")
    told: list[str] = []
    monitor = inception_monitor(
        inception_weights,
        tmp_path / "real.npz",
        device=cpu,
        show=lambda part, done, total: told.append(f"{part} {done}/{total}"),
        cache=tmp_path / "kept",
    )
    assert told == ["reference 0/2", "reference 2/2"]
    assert len(list((tmp_path / "kept").iterdir())) == 1
    (name, found), *others = monitor(images[2:4], labels[2:4]).items()
    inception = load_inception(inception_weights, cpu)
    features = inception(torch.from_numpy(images[:4]).permute(0, 3, 1, 2)).pool.double()
    offset = features[:2].mean(dim=0) - features[2:].mean(dim=0)
    # Two points have a covariance of rank one, d d' / 2 of their difference d.
    d_1, d_2 = features[0] - features[1], features[2] - features[3]
    expected = offset @ offset + d_1 @ d_1 / 2 + d_2 @ d_2 / 2 - abs(d_1 @ d_2)
    assert (name, others) == ("fid", [])
    assert found == pytest.approx(expected.item(), rel=1e-4)
