"""What a run measures of its samples every so often."""

import argparse
from pathlib import Path

from model.evaluation.classifier import ClassifierSpec
from model.evaluation.display import Display
from model.evaluation.evaluation import load_training_images
from model.evaluation.monitor import Monitor, inception_monitor, small_monitor
from model.specs.data import CaptionedEmojiData, EmojiData
from model.specs.recipe import Recipe
from model.training.distributed import World


class MeasurementRefused(ValueError):
    """The options name no measurement, or half of one."""


def open_measure(arguments: argparse.Namespace, recipe: Recipe, world: World) -> Monitor | None:
    """FID where Inception weights are given, else the shipped data's small-feature distance.

    Returns:
        None where nothing is to be measured, or another process does it.

    Raises:
        MeasurementRefused: an option is missing or has no effect.
        EvaluationRefused: a file is not what it should be.
    """
    weights, reference = arguments.inception, arguments.reference
    if arguments.measure_every is None:
        if weights is not None or reference is not None:
            msg = "--inception and --reference: have no effect; allowed: with --measure-every N"
            raise MeasurementRefused(msg)
        return None
    if (weights is None) != (reference is None):
        msg = "--inception and --reference: got one; allowed: both, for FID, or none"
        raise MeasurementRefused(msg)
    if weights is None and not isinstance(recipe.data, EmojiData | CaptionedEmojiData):
        msg = (
            f"--measure-every: data of kind {recipe.data.kind!r} are measured by FID; "
            f"allowed: with --inception FILE and --reference FILE"
        )
        raise MeasurementRefused(msg)
    if not world.leads:
        return None
    with Display() as display:
        if weights is not None:
            return inception_monitor(
                Path(weights), Path(reference), device=world.device, show=display.show
            )
        assert isinstance(recipe.data, EmojiData | CaptionedEmojiData)
        real = load_training_images(recipe.data, Path(arguments.data))
        spec = ClassifierSpec()
        return small_monitor(
            real.pictures.images,
            real.pictures.labels,
            classes=len(real.classes),
            spec=spec,
            on_step=lambda step: display.show("judge", step, spec.steps),
        )
