"""What all rows of a study share: data, judges, and what samples are asked to show."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.evaluation.classifier import ClassifierSpec, weights_sha256
from model.evaluation.display import Show
from model.evaluation.evaluation import load_training_images
from model.evaluation.monitor import ACCURACY, SmallMonitor, small_monitor
from model.evaluation.pictures import RealPictures
from model.evaluation.prompts import concept_prompts
from model.sampling.conditions import Conditions, Wanted, conditions_for
from model.sampling.painter import to_levels
from model.specs.data import CaptionedEmojiData, EmojiData
from model.specs.layered import LayeredSpec
from model.specs.recipe import Recipe
from model.text.open import open_encoder
from model.text.prompts import Prompts
from model.training.data import (
    CaptionedTensors,
    LabelledTensors,
    load_captioned_emoji,
    load_emoji_tensors,
)
from model.training.objective import Shown


class BenchRefused(ValueError):
    """The rows of a base cannot be measured on the shipped images."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What looks at samples of one size."""

    monitor: SmallMonitor
    sha256: str
    real_accuracy: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What all rows share.

    Attributes:
        data: what they learn from.
        shown: class of each of its examples, or the name of what it shows.
        drawable: what samples are asked to show, in the order of the judges' classes.
        conditions: what networks are told.
        judges: one for each size of samples, by side in pixels.
        samples_per_class: how many samples of each the judges look at.
    """

    data: LabelledTensors | CaptionedTensors
    shown: Shown
    drawable: tuple[Wanted, ...]
    conditions: Conditions
    judges: Mapping[int, Judge]
    samples_per_class: int


def sizes_of(recipe: Recipe) -> tuple[int, ...]:
    """Sides in pixels of the images that a recipe's network makes, low to high."""
    return tuple(side * recipe.process.codec.factor for side in recipe.network.sides)


def open_bench(base: Recipe, folder: Path, samples_per_class: int, show: Show) -> Bench:
    """Read the shipped images and train a judge for each size that the base makes.

    Args:
        base: what the rows vary.
        folder: of the shipped images.
        samples_per_class: how many samples of each class the judges look at.
        show: told of the judges' training.

    Raises:
        BenchRefused: the base learns from other data.
        EncoderRefused: its text encoder cannot be used.
        DataError: the images cannot be read.
    """
    spec = base.data
    if not isinstance(spec, EmojiData | CaptionedEmojiData):
        msg = (
            f"--base: got data of kind {spec.kind!r}; "
            f"allowed: 'emoji' or 'captioned-emoji' (or --recipes DIR)"
        )
        raise BenchRefused(msg)
    judges = {
        side: _judge(load_training_images(spec, folder, size=side), side, show)
        for side in sizes_of(base)
    }
    data: LabelledTensors | CaptionedTensors
    drawable: tuple[Wanted, ...]
    shown: Shown
    match spec:
        case EmojiData():
            data = load_emoji_tensors(base, str(folder))
            prompts, shown, drawable = None, data.labels, tuple(range(len(data.classes)))
        case CaptionedEmojiData():
            assert isinstance(base.network, LayeredSpec), "a recipe of captions has one"
            assert base.text is not None
            data = load_captioned_emoji(base, str(folder))
            prompts = Prompts(open_encoder(base.text), base.network.text.tokens)
            shown = tuple(captions[0] for captions in data.captions)
            drawable = concept_prompts(spec)
    conditions = conditions_for(base.network, prompts)
    return Bench(data, shown, drawable, conditions, judges, samples_per_class)


def _judge(real: RealPictures, side: int, show: Show) -> Judge:
    spec = ClassifierSpec()
    images, labels = real.pictures.images, real.pictures.labels
    monitor = small_monitor(
        images,
        labels,
        classes=len(real.classes),
        spec=spec,
        on_step=lambda step: show(f"judge of {side} pixels", step, spec.steps),
    )
    found = monitor(to_levels(images), labels.numpy())
    return Judge(monitor, weights_sha256(monitor.classifier), found[ACCURACY])
