"""What a bundle tells of its making."""

import pytest

from model.bundle import read_manifest
from model.evaluation.errors import EvaluationImpossible
from model.evaluation.provenance import Provenance


def test_what_dimr_train_recorded_is_read(bundle_folder, tiny_recipe):
    provenance = Provenance.of(read_manifest(bundle_folder))
    assert provenance.data == tiny_recipe.data
    assert provenance.training == tiny_recipe.training
    assert (provenance.steps, provenance.images_seen) == (6, 24)


def test_a_bundle_that_tells_nothing_cannot_be_evaluated(bundle_folder):
    manifest = read_manifest(bundle_folder).model_copy(update={"provenance": {"steps": 3}})
    with pytest.raises(EvaluationImpossible, match=r"provenance\.data of bundle tiny"):
        Provenance.of(manifest)
