"""Features of whole files, and the files they are kept in."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from model.evaluation.archive import write_arrays
from model.evaluation.errors import FileRefused
from model.evaluation.features import (
    FeatureCache,
    channels_first,
    extract,
    is_features,
    read_features,
    write_features,
)

WEIGHTS = "a" * 64


def nobody(part, done, total):
    """A reader of progress that does not look."""


@pytest.fixture
def cache(projection):
    def make(folder, weights=WEIGHTS):
        return FeatureCache(projection, weights, folder=folder, batch=4, show=nobody)

    return make


@pytest.fixture
def samples(tmp_path, pictures):
    path = tmp_path / "samples.npz"
    np.savez(path, pictures(6))
    return path


def test_features_of_batches_are_those_of_the_whole(projection, pictures):
    images = pictures(6)
    told: list[tuple[str, float, int]] = []
    found = extract(
        [images[:4], images[4:]],
        6,
        projection,
        part="samples",
        show=lambda *progress: told.append(progress),
    )
    for part, whole in zip(found, projection(channels_first(images)), strict=True):
        assert_close(part, whole)
    assert told == [("samples", 0, 6), ("samples", 4, 6), ("samples", 6, 6)]


def test_features_that_were_kept_come_back(tmp_path, projection, pictures):
    features = projection(channels_first(pictures(3)))
    path = tmp_path / "kept.npz"
    write_features(path, features, WEIGHTS)
    assert is_features(path)
    for kept, value in zip(read_features(path, WEIGHTS), features, strict=True):
        assert_close(kept, value, rtol=0, atol=0)


def test_features_of_other_weights_are_refused(tmp_path, projection, pictures):
    path = tmp_path / "kept.npz"
    write_features(path, projection(channels_first(pictures(3))), WEIGHTS)
    with pytest.raises(FileRefused, match=r"weights aaaaaaaaaaaa\.\.\., not of bbbb"):
        read_features(path, "b" * 64)


def test_malformed_features_are_refused(tmp_path, projection, pictures):
    features = projection(channels_first(pictures(3)))
    path = tmp_path / "kept.npz"
    write_features(path, features._replace(spatial=torch.zeros(3, 5)), WEIGHTS)
    with pytest.raises(FileRefused, match=r"spatial: got float32 \(3, 5\); .*\(N, 2023\)"):
        read_features(path, WEIGHTS)
    write_arrays(path, {"weights_sha256": np.array(WEIGHTS)})
    with pytest.raises(FileRefused, match="no array pool"):
        read_features(path, WEIGHTS)


def test_a_cache_computes_once(cache, projection, samples, tmp_path):
    first = cache(tmp_path / "kept").features(samples, "1" * 64, part="x")
    assert projection.batches == [4, 2]
    again = cache(tmp_path / "kept").features(samples, "1" * 64, part="x")
    assert projection.batches == [4, 2]
    assert_close(again.pool, first.pool, rtol=0, atol=0)


def test_a_cache_knows_other_pictures_and_other_weights(cache, projection, samples, tmp_path):
    folder = tmp_path / "kept"
    cache(folder).features(samples, "1" * 64, part="x")
    cache(folder).features(samples, "2" * 64, part="x")
    cache(folder, "b" * 64).features(samples, "1" * 64, part="x")
    assert projection.batches == [4, 2] * 3
    assert len(list(folder.iterdir())) == 3


def test_without_a_folder_nothing_is_kept(cache, projection, samples, tmp_path):
    for _ in range(2):
        cache(None).features(samples, "1" * 64, part="x")
    assert projection.batches == [4, 2] * 2
    assert list(tmp_path.iterdir()) == [samples]


def test_what_was_kept_can_be_given_in_place_of_pictures(cache, projection, samples, tmp_path):
    folder = tmp_path / "kept"
    first = cache(folder).features(samples, "1" * 64, part="x")
    (kept,) = folder.iterdir()
    assert_close(cache(None).features(kept, "", part="x").pool, first.pool, rtol=0, atol=0)
