"""How a prompt model takes other words than the names of what it was trained on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from model.bundle import Bundle
from model.data.emoji.captions import with_article
from model.evaluation.classifier import Classifier, judge
from model.evaluation.display import Show
from model.evaluation.measures import accuracy
from model.evaluation.pictures import Asked, Pictures, RealPictures, draw
from model.evaluation.report import (
    Combination,
    EvaluationSpec,
    PromptMeasures,
    StyleChoice,
    UnknownWord,
    Wording,
)

WORDING_SAMPLES = 2  # at most, of each prompt that says a concept in other words
HUES: Mapping[str, float] = {"red": 0, "yellow": 55, "green": 125, "blue": 220, "purple": 285}


class Coloured(NamedTuple):
    """A thing in a colour that no drawing of it has."""

    prompt: str
    concept: str
    colour: str


COMBINATIONS = (
    Coloured("a blue apple", "red apple", "blue"),
    Coloured("a purple tiger", "tiger face", "purple"),
    Coloured("a green heart", "red heart", "green"),
    Coloured("a blue banana", "banana", "blue"),
    Coloured("a red frog", "frog", "red"),
    Coloured("a blue strawberry", "strawberry", "blue"),
    Coloured("a yellow rose", "rose", "yellow"),
    Coloured("a purple lemon", "lemon", "purple"),
    Coloured("a green fire", "fire", "green"),
    Coloured("a red cactus", "cactus", "red"),
)
UNKNOWN = (
    "elephant",
    "house",
    "guitar",
    "bicycle",
    "dragon",
    "chair",
    "a snowy mountain",
    "a city at night",
    "happiness",
    "qwxz",
)


class _Words(NamedTuple):
    """One way to say some of the concepts."""

    kind: str
    asked: Sequence[Asked]
    trained: bool


@dataclass(frozen=True, slots=True)
class PromptExam:
    """Draws what other words say, and has it judged.

    Attributes:
        bundle: a prompt model.
        real: its training images.
        named: samples of its concepts by their names, drawn by the same spec.
        classifier: the judge of all styles.
        spec: how samples are drawn.
        show: told of the progress.
    """

    bundle: Bundle
    real: RealPictures
    named: Pictures
    classifier: Classifier
    spec: EvaluationSpec
    show: Show

    def measures(self) -> PromptMeasures:
        """Everything."""
        known = self._judged(self.named).softmax(dim=1)
        return PromptMeasures(
            wordings=tuple(self._wording(words) for words in self._wordings() if words.asked),
            style=self._style(),
            combinations=self._combinations(),
            unknown=self._unknown(),
            known_probability=known.amax(dim=1).mean().item(),
        )

    def _wordings(self) -> tuple[_Words, ...]:
        names = list(enumerate(self.real.classes))
        others = [
            Asked(spelling, label)
            for label, spellings in enumerate(self.real.spellings)
            for spelling in spellings
        ]
        return (
            _Words("with an article", [Asked(with_article(n), k) for k, n in names], trained=True),
            _Words("by another name", others, trained=True),
            _Words(
                "in a sentence",
                [Asked(f"please draw {with_article(n)}", k) for k, n in names],
                trained=False,
            ),
        )

    def _wording(self, words: _Words) -> Wording:
        count = min(WORDING_SAMPLES, self.spec.samples_per_class)
        samples = self._drawn(words.asked, count, f"prompts {words.kind}")
        by_name = [self._of_concept(each.label)[:count] for each in words.asked]
        named = Pictures(torch.cat(by_name), samples.labels)
        return Wording(
            kind=words.kind,
            example=str(words.asked[0].condition),
            trained=words.trained,
            prompts=len(words.asked),
            samples=len(samples),
            accuracy=accuracy(self._judged(samples), samples.labels),
            by_name=accuracy(self._judged(named), named.labels),
        )

    def _style(self) -> StyleChoice:
        """Whose drawing of the concept a sample is nearest to."""
        styles = self.real.style_names
        asked = [
            Asked(f"{name}, {style} style", label)
            for label, name in enumerate(self.real.classes)
            for style in styles
        ]
        samples = self._drawn(asked, 1, "prompts that name a style")
        followed = 0
        for place, (image, label) in enumerate(zip(samples.images, samples.labels, strict=True)):
            chosen = self.real.pictures.labels == label
            drawings = self.real.pictures.images[chosen]  # in the order of the styles
            gaps = (drawings - image).square().flatten(1).mean(dim=1)
            followed += int(gaps.argmin()) == place % len(styles)
        return StyleChoice(
            samples=len(samples), followed=followed / len(samples), chance=1 / len(styles)
        )

    def _combinations(self) -> tuple[Combination, ...]:
        chosen = [each for each in COMBINATIONS if each.concept in self.real.classes]
        asked = [Asked(each.prompt, self.real.classes.index(each.concept)) for each in chosen]
        found = zip(chosen, self._drawn_fully(asked, "new combinations"), strict=True)
        return tuple(self._combination(each, samples) for each, samples in found)

    def _combination(self, each: Coloured, samples: Pictures) -> Combination:
        named = self._of_concept(self.real.classes.index(each.concept))
        return Combination(
            prompt=each.prompt,
            concept=each.concept,
            colour=each.colour,
            samples=len(samples),
            of_colour=_share_of(each.colour, samples.images),
            by_name=_share_of(each.colour, named),
            of_concept=accuracy(self._judged(samples), samples.labels).top1,
        )

    def _unknown(self) -> tuple[UnknownWord, ...]:
        chosen = [prompt for prompt in UNKNOWN if not self._is_trained(prompt)]
        asked = [Asked(prompt, 0) for prompt in chosen]  # none of the classes is right
        found = zip(chosen, self._drawn_fully(asked, "unknown words"), strict=True)
        return tuple(self._unknown_word(prompt, samples) for prompt, samples in found)

    def _unknown_word(self, prompt: str, samples: Pictures) -> UnknownWord:
        probabilities = self._judged(samples).softmax(dim=1)
        taken = probabilities.argmax(dim=1)
        most = int(taken.mode().values)
        return UnknownWord(
            prompt=prompt,
            samples=len(samples),
            taken_for=self.real.classes[most],
            share=(taken == most).double().mean().item(),
            probability=probabilities.amax(dim=1).mean().item(),
        )

    def _is_trained(self, prompt: str) -> bool:
        known = {*self.real.classes, *(s for each in self.real.spellings for s in each)}
        return prompt in known | {with_article(name) for name in known}

    def _drawn_fully(self, asked: Sequence[Asked], part: str) -> list[Pictures]:
        """As many samples of each prompt as of a concept by its name."""
        if not asked:
            return []
        count = self.spec.samples_per_class
        samples = self._drawn(asked, count, part)
        parts = zip(
            torch.split(samples.images, count), torch.split(samples.labels, count), strict=True
        )
        return [Pictures(images, labels) for images, labels in parts]

    def _drawn(self, asked: Sequence[Asked], count: int, part: str) -> Pictures:
        return draw(self.bundle, asked, count, self.spec, part, self.show)

    def _of_concept(self, label: int) -> Tensor:
        """Samples of a concept by its name."""
        return self.named.images[self.named.labels == label]

    def _judged(self, pictures: Pictures) -> Tensor:
        """Logits (N, classes)."""
        return judge(self.classifier, pictures.images).logits


def prevailing_hue(images: Tensor) -> Tensor:
    """The hue in degrees that a picture has most of, each pixel counting by how colourful it is.

    Args:
        images: (N, 3, S, S) in [-1, 1].

    Returns:
        (N,) in [0, 360): 0 is red, 120 green, 240 blue.
    """
    red, green, blue = images.sum(dim=(2, 3)).unbind(1)
    # greys, white and black among them, are the axis that this looks along
    return torch.rad2deg(torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360


def _share_of(colour: str, images: Tensor) -> float:
    """Share of images whose prevailing hue is nearer to a colour's than to any other's."""
    hues = torch.tensor(list(HUES.values()))
    gaps = (prevailing_hue(images)[:, None] - hues).abs()
    nearest = torch.minimum(gaps, 360 - gaps).argmin(dim=1)
    return (nearest == list(HUES).index(colour)).double().mean().item()
