"""How a prompt model takes other words than it was trained on."""

import pytest
import torch

from model.bundle import load_bundle
from model.evaluation.classifier import ClassifierSpec
from model.evaluation.evaluation import evaluate, load_training_images
from model.evaluation.report import EvaluationSpec
from model.evaluation.wording import prevailing_hue
from model.specs.data import CaptionedEmojiData
from model.specs.process import SamplingDefaults

DATA = CaptionedEmojiData(concepts=("red apple", "frog", "banana"), size=16)


@pytest.fixture
def measured(prompt_bundle_folder, named_folder):
    """What is found of an untrained model with judges of so many steps."""

    def run(judge_steps, size=None):
        spec = EvaluationSpec(
            samples_per_class=2,
            sampling=SamplingDefaults(steps=1, guidance=1.0),
            classifier=ClassifierSpec(steps=judge_steps, batch=8),
            size=size,
        )
        real = load_training_images(DATA, named_folder, size=size)
        return evaluate(load_bundle(prompt_bundle_folder), real, spec, lambda *_: None)

    return run


def test_a_concept_is_asked_for_in_other_words_trained_on_or_not(measured):
    found = {wording.kind: wording for wording in measured(1).prompts.wordings}
    assert found["with an article"].example == "a red apple"
    assert found["with an article"].trained
    assert (found["with an article"].prompts, found["with an article"].samples) == (3, 6)
    assert found["by another name"].example == "apple"
    assert found["by another name"].prompts == 1
    assert not found["in a sentence"].trained
    for wording in found.values():
        assert 0 <= wording.accuracy.top1 <= 1
        assert wording.by_name.top5 == 1  # there are three concepts


def test_known_things_are_asked_for_in_new_colours(measured):
    found = {each.prompt: each for each in measured(1).prompts.combinations}
    assert set(found) == {"a blue apple", "a blue banana", "a red frog"}
    assert found["a blue apple"].concept == "red apple"
    assert all(each.samples == 2 for each in found.values())


def test_unknown_words_are_answered_and_their_nearest_class_is_told(measured):
    unknown = measured(30).prompts.unknown
    assert "elephant" in {each.prompt for each in unknown}
    for each in unknown:
        assert each.taken_for in DATA.concepts
        assert each.share in {0.5, 1.0}
        assert 1 / 3 <= each.probability <= 1


def test_a_style_is_followed_where_samples_are_nearest_to_its_drawings(measured):
    style = measured(1).prompts.style
    assert (style.samples, style.chance) == (6, 0.5)
    assert style.followed in {k / 6 for k in range(7)}


def test_a_lower_scale_is_measured_by_a_judge_of_its_size(measured):
    whole, lower = measured(1), measured(1, size=8)
    assert lower.samples == whole.samples == 6
    assert lower.judge_sha256 != whole.judge_sha256


def test_a_class_model_is_asked_for_no_words(bundle_folder, data_folder):
    spec = EvaluationSpec(
        samples_per_class=1,
        sampling=SamplingDefaults(steps=1, guidance=1.0),
        classifier=ClassifierSpec(steps=1, batch=8),
    )
    data = CaptionedEmojiData(concepts=("a", "b", "c"), size=16)
    real = load_training_images(data, data_folder)
    assert evaluate(load_bundle(bundle_folder), real, spec, lambda *_: None).prompts is None


@pytest.mark.parametrize(
    ("colour", "hue"),
    [((1, -1, -1), 0), ((1, 1, -1), 60), ((-1, 1, -1), 120), ((-1, -1, 1), 240), ((1, -1, 1), 300)],
)
def test_the_prevailing_hue_is_that_of_the_coloured_part(colour, hue):
    images = torch.ones(1, 3, 8, 8)
    images[0, :, :2] = torch.tensor(colour, dtype=torch.float32)[:, None, None]
    images[0, :, 6:] = -0.5  # grey
    torch.testing.assert_close(prevailing_hue(images) % 360, torch.tensor([float(hue)]))
