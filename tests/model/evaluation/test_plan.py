"""Which image of a file shows what."""

from collections import Counter

import pytest

from model.bundle import read_manifest
from model.evaluation.errors import PlanRefused
from model.evaluation.plan import SamplePlan
from model.sampling.noise import MAX_SEED
from model.specs.process import SamplingDefaults


@pytest.fixture
def plan(bundle_folder):
    """A plan of the bundle's, for so many images of so many classes."""
    manifest = read_manifest(bundle_folder)

    def make(images, classes=3, seed=0, **sampling):
        whole = SamplePlan.of(
            manifest, images=images, seed=seed, sampling=SamplingDefaults(**sampling)
        )
        return whole.model_copy(update={"classes": classes})

    return make


def labels(plan):
    return [plan.label(index) for index in range(plan.images)]


@pytest.mark.parametrize("images", [3, 9, 300])
def test_whole_rounds_give_each_class_equally_many(plan, images):
    assert set(Counter(labels(plan(images))).values()) == {images // 3}


def test_any_run_of_consecutive_images_is_balanced(plan):
    shown = labels(plan(1000, classes=10))
    for start in range(0, 1000, 37):
        counts = Counter(shown[start : start + 50])
        assert set(counts.values()) == {5} or start > 950


@pytest.mark.parametrize(("images", "classes"), [(1, 5), (4, 10), (13, 5), (26, 10), (999, 1000)])
def test_no_class_has_two_more_than_another(plan, images, classes):
    counts = Counter(labels(plan(images, classes)))
    spread = [counts[label] for label in range(classes)]
    assert max(spread) - min(spread) <= 1
    assert sum(spread) == images


def test_the_rest_is_spread_over_the_list_of_classes(plan):
    assert labels(plan(14, classes=10))[10:] == [0, 2, 5, 7]


def test_each_image_has_a_seed_of_its_own(plan):
    whole = plan(5, seed=100, steps=7, guidance=3.0, sampler="ddim")
    requests = [whole.request(index) for index in range(5)]
    assert [request.seed for request in requests] == [100, 101, 102, 103, 104]
    assert {request.procedure for request in requests} == {(7, "ddim", 3.0, None)}


def test_seeds_end_somewhere(plan):
    assert plan(5, seed=MAX_SEED - 4).request(4).seed == MAX_SEED
    with pytest.raises(PlanRefused, match=f"allowed: 0 to {MAX_SEED - 4} with 5 images"):
        plan(5, seed=MAX_SEED - 3)


@pytest.fixture
def captioned(prompt_bundle_folder):
    """A plan of a prompt model's, for so many images of these captions."""
    manifest = read_manifest(prompt_bundle_folder)

    def make(images, captions, seed=0, size=None):
        return SamplePlan.of(
            manifest,
            images=images,
            seed=seed,
            sampling=SamplingDefaults(),
            captions=captions,
            size=size,
        )

    return make


def test_each_caption_is_shown_once_before_any_is_shown_again(captioned):
    captions = [f"thing {k}" for k in range(7)]
    whole = captioned(17, captions)
    shown = [whole.request(index, captions).condition for index in range(17)]
    assert set(shown[:7]) == set(shown[7:14]) == set(captions)
    assert len(set(shown[14:])) == 3
    assert shown[:7] != shown[7:14]
    assert shown[0] == captions[whole.label(0)]


def test_the_order_of_captions_follows_from_the_seed(captioned):
    captions = [f"thing {k}" for k in range(20)]
    orders = [labels(captioned(20, captions, seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_a_plan_of_other_captions_or_of_another_size_is_refused(captioned, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(captioned(2, ["a", "b"]).model_dump_json())
    captioned(2, ["a", "b"], size=16).check_same(path)  # the largest, which is the default
    with pytest.raises(PlanRefused, match="captions_sha256: got "):
        captioned(2, ["a", "c"]).check_same(path)
    with pytest.raises(PlanRefused, match=r"size: got 8, .* made with None"):
        captioned(2, ["a", "b"], size=8).check_same(path)


def test_captions_are_for_prompt_models_and_classes_for_others(captioned, bundle_folder):
    with pytest.raises(PlanRefused, match="--captions: tiny-layered draws what a text says"):
        captioned(2, None)
    with pytest.raises(PlanRefused, match="--captions: tiny draws classes"):
        SamplePlan.of(
            read_manifest(bundle_folder),
            images=1,
            seed=0,
            sampling=SamplingDefaults(),
            captions=["a"],
        )
    with pytest.raises(PlanRefused, match="--size: got 12; allowed with this bundle: 8 or 16"):
        captioned(2, ["a"], size=12)


def test_another_plan_is_refused_by_its_first_difference(plan, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(plan(5, steps=7).model_dump_json())
    plan(5, steps=7).check_same(path)
    with pytest.raises(PlanRefused, match=r"images: got 6, .* made with 5"):
        plan(6, steps=7).check_same(path)
    with pytest.raises(PlanRefused, match=r"sampling\.steps: got 8, .* made with 7"):
        plan(5, steps=8).check_same(path)
    path.write_text("{}")
    with pytest.raises(PlanRefused, match="holds no plan"):
        plan(5).check_same(path)
