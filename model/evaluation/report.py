"""What an evaluation found, as data: the JSON report and its summary rows."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from model.evaluation.classifier import ClassifierSpec
from model.evaluation.measures import COPY_RMSE, Accuracy, Distances
from model.specs.base import Spec
from model.specs.process import SamplingDefaults

NAMED_WORST = 5


class Comparison(Spec):
    """The same judge on generated and on real pictures."""

    samples: Accuracy
    real: Accuracy
    ratio_top1: float | None = Field(description="samples / real; null where real is 0")


class Fold(Spec):
    """One style held out: a judge trained on the others, asked about it and about the samples."""

    held_out: str
    samples: Accuracy
    real: Accuracy
    judge_sha256: str


class Nearest(Spec):
    """Distance to the nearest training image."""

    samples: Distances
    real: Distances = Field(description="each real image to those of the other styles")


class Frechet(Spec):
    """Fréchet distance on the judge's 64 features, mean over random halves of the real images."""

    samples: float = Field(description="equally many samples to a half of the real images")
    real: float = Field(description="the other half to it")
    images: int = Field(description="N on each side")
    splits: int


class ClassResult(Spec):
    """How samples of one class fared: accuracy, and mean probability of the class."""

    name: str
    top1: float
    probability: float


class Wording(Spec):
    """Samples of prompts that say the concepts in other words."""

    kind: str
    example: str
    trained: bool = Field(description="whether such captions were trained on")
    prompts: int
    samples: int
    accuracy: Accuracy
    by_name: Accuracy = Field(description="of as many samples of the same concepts by their names")


class StyleChoice(Spec):
    """Samples of prompts that name a style: "red apple, flat style"."""

    samples: int
    followed: float = Field(description="share nearest to that style's drawing of the concept")
    chance: float


class Combination(Spec):
    """Samples of a thing in a colour that no training image of it has."""

    prompt: str
    concept: str
    colour: str
    samples: int
    of_colour: float = Field(description="share whose prevailing hue is nearest to the colour's")
    by_name: float = Field(description="the same share of samples of the concept by its name")
    of_concept: float = Field(description="share that the judge takes for the concept")


class UnknownWord(Spec):
    """Samples of a prompt of which nothing was trained on."""

    prompt: str
    samples: int
    taken_for: str = Field(description="the class that the judge sees in most of them")
    share: float = Field(description="of the samples that it sees it in")
    probability: float = Field(description="mean probability of whatever it sees")


class PromptMeasures(Spec):
    """How a prompt model takes other words than the names of its concepts."""

    wordings: tuple[Wording, ...]
    style: StyleChoice
    combinations: tuple[Combination, ...]
    unknown: tuple[UnknownWord, ...]
    known_probability: float = Field(description="as `UnknownWord.probability`, of known concepts")


class Measures(Spec):
    """Everything that was measured."""

    samples: int
    real_images: int
    styles: tuple[str, ...]
    accuracy: Comparison = Field(description="judge of all styles; real images are augmented anew")
    held_out_style: Comparison = Field(description="means over `folds`")
    folds: tuple[Fold, ...]
    nearest_rmse: Nearest
    small_feature_frechet: Frechet
    classes: tuple[ClassResult, ...] = Field(description="worst first")
    prompts: PromptMeasures | None = None
    judge_sha256: str
    judge_parameters: int

    @property
    def worst(self) -> Sequence[ClassResult]:
        """The classes with the lowest accuracies, of those that are not always right."""
        return [entry for entry in self.classes if entry.top1 < 1][:NAMED_WORST]


class EvaluationSpec(Spec):
    """What to measure with; the seed is that of the first sample of each class."""

    samples_per_class: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0)
    sampling: SamplingDefaults
    classifier: ClassifierSpec = ClassifierSpec()
    size: int | None = Field(default=None, description="side of the samples; null is the largest")


class Report(Spec):
    """The JSON report of `dimr-evaluate small`."""

    format_version: Literal[1] = 1
    bundle_id: str
    denoiser_sha256: str
    date: str = Field(description="UTC, ISO 8601")
    command: str
    seconds: float
    threads: int
    torch: str
    evaluation: EvaluationSpec
    measures: Measures


class Row(NamedTuple):
    """One line of a summary, ready to print."""

    measure: str
    samples: str
    real: str
    ratio: str


def rows(measures: Measures) -> list[Row]:
    """The summary, for a terminal and for a model card."""
    whole, held = measures.accuracy, measures.held_out_style
    near, far = measures.nearest_rmse, measures.small_feature_frechet
    what = "class" if measures.prompts is None else "caption"
    return [
        _accuracy_row(f"{what} accuracy, top 1", whole),
        Row(f"{what} accuracy, top 5", percent(whole.samples.top5), percent(whole.real.top5), ""),
        _accuracy_row("with a style held out, top 1", held),
        Row(
            "with a style held out, top 5",
            percent(held.samples.top5),
            percent(held.real.top5),
            "",
        ),
        Row(
            "nearest training RMSE, median",
            f"{near.samples.median:.3f}",
            f"{near.real.median:.3f}",
            "",
        ),
        Row(
            "nearest training RMSE, 5 % - 95 %",
            f"{near.samples.p5:.3f} - {near.samples.p95:.3f}",
            f"{near.real.p5:.3f} - {near.real.p95:.3f}",
            "",
        ),
        Row(
            f"near copies (RMSE below {COPY_RMSE})",
            percent(near.samples.share_of_copies),
            percent(near.real.share_of_copies),
            "",
        ),
        Row(
            f"small-feature Fréchet, N = {far.images}",
            f"{far.samples:.2f}",
            f"{far.real:.2f}",
            "",
        ),
    ]


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:.1f} %"


def _accuracy_row(measure: str, comparison: Comparison) -> Row:
    ratio = "" if comparison.ratio_top1 is None else f"{comparison.ratio_top1:.3f}"
    return Row(measure, percent(comparison.samples.top1), percent(comparison.real.top1), ratio)
