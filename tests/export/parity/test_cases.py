"""What is drawn: unlike seeds, all classes in turn or spread evenly, every size."""

from pathlib import Path

from export.parity.cases import PROMPTS, TOGETHER, cases_of, together
from model.bundle import read_manifest
from model.specs.layered import LayeredSpec

SHIPPED = Path(__file__).parents[3] / "deploy" / "models"


def test_fewer_images_than_classes_are_spread_and_more_come_in_turn(bundle):
    manifest = bundle.manifest
    assert [case.condition for case in cases_of(manifest, 7)] == [0, 1, 2, 0, 1, 2, 0]
    assert [case.condition for case in cases_of(manifest, 2)] == [0, 1]
    shipped = read_manifest(SHIPPED / "emoji-32")
    assert not isinstance(shipped.network, LayeredSpec)
    shown = [case.condition for case in cases_of(shipped, 4)]
    assert shown == [index * shipped.network.classes // 4 for index in range(4)]


def test_every_image_has_a_seed_of_its_own_and_the_same_ones_at_each_size():
    cases = cases_of(read_manifest(SHIPPED / "emoji-layered-64"), 5)
    assert [case.size for case in cases] == [16] * 5 + [32] * 5 + [64] * 5
    assert [case.seed for case in cases] == [0, 1, 2, 3, 4] * 3
    assert all(isinstance(case.condition, str) for case in cases)


def test_prompts_are_ours_where_a_bundle_names_no_concepts():
    manifest = read_manifest(SHIPPED / "emoji-layered-64").model_copy(update={"provenance": {}})
    assert {case.condition for case in cases_of(manifest, len(PROMPTS))} == set(PROMPTS)


def test_a_batch_has_one_size():
    cases = cases_of(read_manifest(SHIPPED / "emoji-layered-64"), TOGETHER + 1)
    batches = list(together(cases))
    assert [len(batch) for batch in batches] == [TOGETHER, 1] * 3
    assert [case for batch in batches for case in batch] == list(cases)
    assert all(len({case.size for case in batch}) == 1 for batch in batches)
