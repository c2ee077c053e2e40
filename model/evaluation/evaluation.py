"""How an evaluation goes: train judges, draw samples, measure both them and real images."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from model.bundle import Bundle
from model.data.emoji.captions import caption_emoji
from model.data.emoji.sheets import EmojiSet, load_emoji
from model.data.order import generator_for
from model.data.source import to_unit
from model.evaluation.augmentation import augment
from model.evaluation.classifier import (
    Classifier,
    judge,
    train_classifier,
    weights_sha256,
)
from model.evaluation.display import Show
from model.evaluation.errors import EvaluationImpossible
from model.evaluation.measures import (
    Accuracy,
    Gaussian,
    accuracy,
    frechet_distance,
    hits,
    mean_by_class,
    nearest_rmse,
    summary,
)
from model.evaluation.pictures import Asked, Pictures, RealPictures, draw
from model.evaluation.report import (
    ClassResult,
    Comparison,
    EvaluationSpec,
    Fold,
    Frechet,
    Measures,
    Nearest,
    PromptMeasures,
)
from model.evaluation.wording import PromptExam
from model.sampling.conditions import Wanted
from model.specs.data import CaptionedEmojiData, EmojiData

REAL_DRAWS = 8  # augmentations of each real image
SPLITS = 20  # random halves of the real images
_UNSEEN, _HALVES = 2, 3  # streams of the judge's seed; its training uses 0 and 1


def load_training_images(
    data: EmojiData | CaptionedEmojiData, folder: Path, *, size: int | None = None
) -> RealPictures:
    """Read the images that a bundle was trained on.

    Args:
        data: which they are; concepts count as classes, in their order.
        folder: where they are.
        size: side to reduce them to by area averaging; that of the training by default.

    Raises:
        EvaluationImpossible: there are too few to compare.
        DataError: the folder lacks them.
    """
    emoji = load_emoji(folder, concepts=data.concepts, size=size or data.size)
    if len(set(emoji.styles)) < 2 or len(emoji.classes) < 2:
        msg = (
            f"{folder} has {len(set(emoji.styles))} style(s) of {len(emoji.classes)} class(es); "
            f"allowed: at least 2 of both, for real images are compared across styles"
        )
        raise EvaluationImpossible(msg)
    pictures = Pictures(to_unit(emoji.images), torch.from_numpy(emoji.labels))
    return RealPictures(pictures, emoji.classes, emoji.styles, _spellings(emoji))


def _spellings(emoji: EmojiSet) -> tuple[tuple[str, ...], ...]:
    """Other names of each class, by which captions call it too."""
    trained = dict(zip(emoji.labels.tolist(), caption_emoji(emoji), strict=True))
    named = dict(zip(emoji.labels.tolist(), emoji.captions, strict=True))
    return tuple(
        tuple(name for name in named[label][1:] if name in trained[label])
        for label in sorted(named)
    )


def evaluate(bundle: Bundle, real: RealPictures, spec: EvaluationSpec, show: Show) -> Measures:
    """Measure a bundle against its training images; a prompt model is asked for their names.

    Equal arguments give equal results on one machine with one number of threads.
    """
    asked = [Asked(each, label) for label, each in enumerate(_drawable(bundle, real))]
    samples = draw(bundle, asked, spec.samples_per_class, spec, "samples", show)
    classifier = _train(real.pictures, real, spec, show, "judge of all styles")
    unseen = generator_for(spec.classifier.seed, _UNSEEN)
    augmented = Pictures(
        augment(real.pictures.images.repeat(REAL_DRAWS, 1, 1, 1), unseen),
        real.pictures.labels.repeat(REAL_DRAWS),
    )
    folds = tuple(_fold(style, real, samples, spec, show) for style in real.style_names)
    judged, judged_real = judge(classifier, samples.images), judge(classifier, augmented.images)
    plain = judge(classifier, real.pictures.images)
    return Measures(
        samples=len(samples),
        real_images=len(real.pictures),
        styles=real.style_names,
        accuracy=_comparison(
            accuracy(judged.logits, samples.labels), accuracy(judged_real.logits, augmented.labels)
        ),
        held_out_style=_comparison(
            _mean([fold.samples for fold in folds]), _mean([fold.real for fold in folds])
        ),
        folds=folds,
        nearest_rmse=_nearest(samples, real),
        small_feature_frechet=_frechet(judged.embedding, plain.embedding, spec.classifier.seed),
        classes=_by_class(judged.logits, samples.labels, real.classes),
        prompts=_prompts(bundle, real, samples, classifier, spec, show),
        judge_sha256=weights_sha256(classifier),
        judge_parameters=sum(p.numel() for p in classifier.parameters()),
    )


def _prompts(
    bundle: Bundle,
    real: RealPictures,
    named: Pictures,
    classifier: Classifier,
    spec: EvaluationSpec,
    show: Show,
) -> PromptMeasures | None:
    if bundle.prompts is None:
        return None
    return PromptExam(bundle, real, named, classifier, spec, show).measures()


def _drawable(bundle: Bundle, real: RealPictures) -> Sequence[Wanted]:
    """What to ask a bundle for, in the order of the judge's classes."""
    return range(len(real.classes)) if bundle.prompts is None else real.classes


def _train(
    pictures: Pictures,
    real: RealPictures,
    spec: EvaluationSpec,
    show: Show,
    name: str,
) -> Classifier:
    return train_classifier(
        pictures.images,
        pictures.labels,
        classes=len(real.classes),
        spec=spec.classifier,
        on_step=lambda step: show(name, step, spec.classifier.steps),
    )


def _fold(
    style: str, real: RealPictures, samples: Pictures, spec: EvaluationSpec, show: Show
) -> Fold:
    held_out, others = real.split(style)
    classifier = _train(others, real, spec, show, f"judge without {style}")
    return Fold(
        held_out=style,
        samples=accuracy(judge(classifier, samples.images).logits, samples.labels),
        real=accuracy(judge(classifier, held_out.images).logits, held_out.labels),
        judge_sha256=weights_sha256(classifier),
    )


def _nearest(samples: Pictures, real: RealPictures) -> Nearest:
    across = [
        nearest_rmse(own.images, others.images) for own, others in map(real.split, real.style_names)
    ]
    return Nearest(
        samples=summary(nearest_rmse(samples.images, real.pictures.images)),
        real=summary(torch.cat(across)),
    )


def _frechet(samples: Tensor, real: Tensor, seed: int) -> Frechet:
    """Compare features (N, 64) in subsets of one size, for the distance depends on it."""
    count = min(len(real) // 2, len(samples))
    to_samples, to_real = [], []
    for split in range(SPLITS):
        generator = generator_for(seed, _HALVES, split)
        order = torch.randperm(len(real), generator=generator)
        chosen = torch.randperm(len(samples), generator=generator)[:count]
        half = Gaussian.of(real[order[:count]])
        other = Gaussian.of(real[order[count : 2 * count]])
        to_samples.append(frechet_distance(Gaussian.of(samples[chosen]), half))
        to_real.append(frechet_distance(other, half))
    return Frechet(samples=fmean(to_samples), real=fmean(to_real), images=count, splits=SPLITS)


def _by_class(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> tuple[ClassResult, ...]:
    """Results of each class, worst first."""
    probability = logits.softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    found = zip(
        classes,
        mean_by_class(hits(logits, labels, 1), labels, len(classes)).tolist(),
        mean_by_class(probability, labels, len(classes)).tolist(),
        strict=True,
    )
    results = [ClassResult(name=n, top1=top1, probability=p) for n, top1, p in found]
    return tuple(sorted(results, key=lambda result: (result.top1, result.probability)))


def _comparison(samples: Accuracy, real: Accuracy) -> Comparison:
    ratio = samples.top1 / real.top1 if real.top1 else None
    return Comparison(samples=samples, real=real, ratio_top1=ratio)


def _mean(accuracies: Sequence[Accuracy]) -> Accuracy:
    return Accuracy(top1=fmean(a.top1 for a in accuracies), top5=fmean(a.top5 for a in accuracies))
