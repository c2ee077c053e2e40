"""Samples against a reference."""

import pytest

from model.evaluation.comparison import compare, rows
from model.evaluation.errors import EvaluationImpossible
from model.evaluation.features import channels_first
from model.evaluation.measures import Gaussian
from model.evaluation.reference import Reference


@pytest.fixture
def features(projection, pictures):
    """The first 16 of each kind of feature, of so many pictures."""

    def make(count, seed=0):
        found = projection(channels_first(pictures(count, seed)))
        return type(found)(*(part[:, :16] for part in found))

    return make


def reference(features):
    return Reference(Gaussian.of(features.pool), Gaussian.of(features.spatial), features.pool)


def test_real_images_are_at_no_distance_from_themselves(features):
    scores = compare(features(30), reference(features(30)))
    assert scores.fid == pytest.approx(0, abs=1e-6)
    assert scores.sfid == pytest.approx(0, abs=1e-6)
    assert (scores.precision, scores.recall) == (1, 1)


def test_other_images_are_at_some(features):
    scores = compare(features(30, seed=1), reference(features(40)))
    assert scores.fid > 0.01
    assert scores.sfid > 0.01
    assert scores.fid != scores.sfid
    assert scores.inception_score > 1


def test_statistics_alone_give_no_precision(features):
    known = reference(features(30))._replace(features=None)
    scores = compare(features(2, seed=1), known)
    assert scores.precision is scores.recall is None
    assert scores.fid > 0
    table = {row.measure: row.value for row in rows(scores)}
    assert table["FID"] == f"{scores.fid:.4f}"
    assert table["precision, k = 3"] == "the reference has no images"


@pytest.mark.parametrize(("samples", "real", "named"), [(3, 9, "samples: got 3"), (9, 3, "refer")])
def test_too_few_images_have_no_neighbours(features, samples, real, named):
    with pytest.raises(EvaluationImpossible, match=rf"{named}.*allowed: at least 4"):
        compare(features(samples), reference(features(real)))


def test_one_sample_has_no_covariance(features):
    known = reference(features(30))._replace(features=None)
    with pytest.raises(EvaluationImpossible, match="allowed: at least 2"):
        compare(features(1), known)
