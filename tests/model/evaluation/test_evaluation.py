"""A whole evaluation, in miniature."""

import json

import pytest

from model.bundle import load_bundle
from model.evaluation.classifier import ClassifierSpec
from model.evaluation.errors import EvaluationImpossible
from model.evaluation.evaluation import evaluate, load_training_images
from model.evaluation.report import EvaluationSpec, rows
from model.specs.data import EmojiData
from model.specs.process import SamplingDefaults

DATA = EmojiData(concepts=("a", "b", "c"), size=16)


@pytest.fixture
def real(data_folder):
    return load_training_images(DATA, data_folder)


@pytest.fixture
def measure(bundle_folder, real):
    """Evaluate with judges of so many steps."""

    def run(judge_steps, progress=lambda *_: None):
        spec = EvaluationSpec(
            samples_per_class=2,
            sampling=SamplingDefaults(steps=2, guidance=1.0),
            classifier=ClassifierSpec(steps=judge_steps, batch=8),
        )
        return evaluate(load_bundle(bundle_folder), real, spec, progress)

    return run


def test_real_images_of_each_style_are_told_apart_from_the_others(real):
    own, others = real.split("pale")
    assert real.style_names == ("plain", "pale")
    assert own.labels.tolist() == others.labels.tolist() == [0, 1, 2]
    assert own.images.min() == pytest.approx(20 / 127.5 - 1)
    assert others.images.min() == -1


def test_an_evaluation_answers_every_question(measure):
    told: list[tuple[str, int, int]] = []
    measures = measure(30, lambda *progress: told.append(progress))
    assert (measures.samples, measures.real_images, measures.styles) == (6, 6, ("plain", "pale"))
    assert measures.accuracy.real.top1 > 0.9
    assert [fold.held_out for fold in measures.folds] == ["plain", "pale"]
    assert measures.held_out_style.real.top1 == 1
    assert 0 <= measures.accuracy.samples.top1 <= 1
    assert measures.accuracy.samples.top5 == 1  # there are three classes
    judges = {measures.judge_sha256, *(fold.judge_sha256 for fold in measures.folds)}
    assert len(judges) == 3
    # Half of the pixels of two drawings differ between the styles by 20 levels.
    assert measures.nearest_rmse.real.median == pytest.approx(0.5**0.5 * 20 / 127.5, rel=1e-4)
    assert measures.nearest_rmse.samples.median > measures.nearest_rmse.real.median
    assert measures.nearest_rmse.samples.share_of_copies == 0
    assert measures.small_feature_frechet.images == 3
    assert min(measures.small_feature_frechet.samples, measures.small_feature_frechet.real) > 0
    assert sorted(entry.name for entry in measures.classes) == ["a", "b", "c"]
    scores = [(entry.top1, entry.probability) for entry in measures.classes]
    assert scores == sorted(scores)
    finals = {part: (done, total) for part, done, total in told}
    assert finals == {
        "samples": (6, 6),
        "judge of all styles": (30, 30),
        "judge without plain": (30, 30),
        "judge without pale": (30, 30),
    }


def test_samples_count_as_right_under_the_class_they_were_asked_for(measure):
    measures = measure(1)
    mean = sum(entry.top1 for entry in measures.classes) / 3
    assert measures.accuracy.samples.top1 == pytest.approx(mean)
    assert measures.accuracy.ratio_top1 == pytest.approx(mean / measures.accuracy.real.top1)


def test_equal_evaluations_find_equal_figures(measure):
    assert measure(2) == measure(2)


def test_the_summary_has_a_line_for_each_measure(measure):
    lines = [" ".join(row) for row in rows(measure(1))]
    assert len(lines) == 8
    assert "small-feature Fréchet, N = 3" in lines[-1]
    assert not any("FID" in line for line in lines)


def test_one_style_is_too_few_to_compare(data_folder):
    index = json.loads((data_folder / "index.json").read_text())
    index["sheets"].pop()
    (data_folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(EvaluationImpossible, match=r"1 style\(s\) of 3 class\(es\)"):
        load_training_images(DATA, data_folder)


def test_one_class_is_too_few_to_compare(data_folder):
    with pytest.raises(EvaluationImpossible, match=r"2 style\(s\) of 1 class\(es\)"):
        load_training_images(EmojiData(concepts=("a",), size=16), data_folder)


def test_training_images_are_read_in_the_size_of_the_training(data_folder):
    halved = load_training_images(EmojiData(concepts=("c", "a"), size=8), data_folder)
    assert halved.pictures.images.shape == (4, 3, 8, 8)
    assert halved.classes == ("c", "a")
