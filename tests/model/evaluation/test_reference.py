"""What samples are compared with, in its three forms."""

import numpy as np
import pytest
from torch.testing import assert_close

from model.evaluation.errors import FileRefused
from model.evaluation.features import FeatureCache, channels_first
from model.evaluation.measures import Gaussian
from model.evaluation.reference import read_reference


@pytest.fixture
def cache(projection):
    return FeatureCache(projection, "a" * 64, folder=None, batch=4, show=lambda *_: None)


@pytest.fixture
def features(projection, pictures):
    return projection(channels_first(pictures(5)))


@pytest.fixture
def statistics(features):
    pool, spatial = Gaussian.of(features.pool), Gaussian.of(features.spatial)
    return {
        "mu": pool.mean.numpy(),
        "sigma": pool.covariance.numpy(),
        "mu_s": spatial.mean.numpy(),
        "sigma_s": spatial.covariance.numpy(),
    }


def test_images_are_fitted(tmp_path, pictures, cache, features):
    np.savez(tmp_path / "real.npz", pictures(5))
    found = read_reference(tmp_path / "real.npz", cache)
    assert found.features is not None
    assert_close(found.features, features.pool)
    assert_close(found.pool, Gaussian.of(found.features))
    assert_close(found.spatial.mean, features.spatial.double().mean(dim=0), rtol=1e-4, atol=1e-5)


def test_statistics_are_taken_as_they_are(tmp_path, cache, statistics):
    np.savez(tmp_path / "adm.npz", **statistics)
    found = read_reference(tmp_path / "adm.npz", cache)
    assert found.features is None
    assert_close(found.pool.mean.numpy(), statistics["mu"])
    assert_close(found.spatial.covariance.numpy(), statistics["sigma_s"])


def test_images_beside_statistics_serve_precision_and_recall_alone(
    tmp_path, cache, statistics, pictures, projection
):
    other = pictures(7, seed=1)
    np.savez(tmp_path / "adm.npz", arr_0=other, **statistics)
    found = read_reference(tmp_path / "adm.npz", cache)
    assert_close(found.pool.mean.numpy(), statistics["mu"])
    assert found.features is not None
    assert_close(found.features, projection(channels_first(other)).pool)


def test_half_of_the_statistics_are_refused(tmp_path, cache, statistics):
    del statistics["sigma_s"]
    np.savez(tmp_path / "adm.npz", **statistics)
    with pytest.raises(FileRefused, match="has mu but no sigma_s"):
        read_reference(tmp_path / "adm.npz", cache)


def test_statistics_of_other_features_are_refused(tmp_path, cache, statistics):
    np.savez(tmp_path / "adm.npz", **statistics | {"mu": np.zeros(64), "sigma": np.eye(64)})
    with pytest.raises(FileRefused, match=r"got \(64,\), \(64, 64\); allowed: \(2048,\)"):
        read_reference(tmp_path / "adm.npz", cache)


def test_one_image_is_no_distribution(tmp_path, cache, pictures):
    np.savez(tmp_path / "real.npz", pictures(1))
    with pytest.raises(FileRefused, match="allowed: at least 2"):
        read_reference(tmp_path / "real.npz", cache)
