"""From what a client sent and a model's card to a request in which nothing is left open. Pure."""

import math
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.api.schemas import MAX_SEED, ImageFields
from service.cards import ModelCard
from service.errors import FieldsRejected, RequestRejected
from service.queue.jobs import ImageRequest

RANDOM_SEEDS = 2**32  # seeds that are drawn here are short enough to be read out and typed

_ARTICLE = re.compile(r"^(?:a|an|the)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The fields that have a default, filled in."""

    n: int
    seed: int
    steps: int
    guidance: float
    sampler: str
    size: str


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is drawn: a class with whatever prompt came with it, or a prompt."""

    label: int | None
    class_name: str | None
    prompt: str | None


def choose(fields: ImageFields, cards: Sequence[ModelCard]) -> ModelCard:
    """The model of a request that names none: the first, by id, that can draw what is asked for.

    Models with classes come first where class_label is given, else models that draw from a prompt.

    Args:
        fields: what the client sent; numbers and sizes play no part.
        cards: of the models that are served, at least one.

    Returns:
        Where no model can draw it, the first one asked, which will say why.
    """
    wanted = "prompt" if fields.class_label is None else "class"
    ordered = sorted(cards, key=lambda card: (wanted not in card.conditioning, card.id))
    for card in ordered:
        with suppress(RequestRejected):
            _subject(fields, card)
            return card
    return ordered[0]


def resolve(fields: ImageFields, card: ModelCard, *, max_images: int) -> ImageRequest:
    """Fill in defaults and check every field against the card.

    Args:
        fields: what the client sent.
        card: of the model that will serve it.
        max_images: the service's own bound on images per request, besides the card's.

    Raises:
        FieldsRejected: all fields that the model cannot serve.
    """
    numbers = _with_defaults(fields, card)
    rejections = list(_out_of_range(numbers, card, max_images))
    try:
        subject = _subject(fields, card)
    except RequestRejected as rejection:
        rejections.append(rejection)
    if rejections:
        raise FieldsRejected(rejections)
    return ImageRequest(
        model=card.id,
        label=subject.label,
        class_name=subject.class_name,
        prompt=subject.prompt,
        n=numbers.n,
        seed=numbers.seed,
        steps=numbers.steps,
        sampler=numbers.sampler,
        guidance=numbers.guidance,
        size=_side(numbers.size),
        format=fields.output_format or "png",
        quality=fields.output_compression,
    )


def sample_steps(request: ImageRequest, card: ModelCard) -> int:
    """Network rows of a whole request, in rows of the model's largest size, rounded up.

    Guidance other than 1 needs two a call.
    """
    rows_per_call = 1 if request.guidance == 1 else 2
    return math.ceil(request.n * request.steps * rows_per_call * card.row_cost(request.size))


def size_name(side: int) -> str:
    """A square size as it is written on the wire."""
    return f"{side}x{side}"


def _side(size: str) -> int:
    return int(size.partition("x")[0])


def _with_defaults(fields: ImageFields, card: ModelCard) -> _Numbers:
    defaults = card.defaults
    return _Numbers(
        n=1 if fields.n is None else fields.n,
        seed=secrets.randbelow(RANDOM_SEEDS) if fields.seed is None else fields.seed,
        steps=defaults.steps if fields.steps is None else fields.steps,
        guidance=defaults.guidance if fields.guidance is None else fields.guidance,
        sampler=defaults.sampler if fields.sampler is None else fields.sampler,
        size=size_name(defaults.size) if fields.size in (None, "auto") else fields.size,
    )


def _out_of_range(numbers: _Numbers, card: ModelCard, max_images: int) -> Iterator[RequestRejected]:
    limits, n = card.limits, numbers.n
    most = min(limits.max_images, max_images)
    if not 1 <= n <= most:
        yield RequestRejected("n", n, f"an integer from 1 to {most}")
    elif numbers.seed > MAX_SEED - (n - 1):
        yield RequestRejected(
            "seed", numbers.seed, f"at most {MAX_SEED} - (n - 1), image k uses seed + k"
        )
    if not limits.min_steps <= numbers.steps <= limits.max_steps:
        allowed = f"an integer from {limits.min_steps} to {limits.max_steps}"
        yield RequestRejected("steps", numbers.steps, allowed)
    if not limits.min_guidance <= numbers.guidance <= limits.max_guidance:
        allowed = f"a number from {limits.min_guidance:g} to {limits.max_guidance:g}"
        yield RequestRejected("guidance", numbers.guidance, allowed)
    if numbers.sampler not in card.samplers:
        yield RequestRejected("sampler", numbers.sampler, ", ".join(card.samplers))
    sizes = [size_name(side) for side in card.sizes]
    if numbers.size not in sizes:
        yield RequestRejected("size", numbers.size, ", ".join(["auto", *sizes]))


def _subject(fields: ImageFields, card: ModelCard) -> _Subject:
    """The prompt where the model draws from one, else a class; class_label asks for a class."""
    if fields.class_label is None and "prompt" in card.conditioning:
        return _Subject(None, None, (fields.prompt or "").strip())
    label = _class_index(fields, card)
    return _Subject(label, card.classes[label].name, fields.prompt or None)


def _class_index(fields: ImageFields, card: ModelCard) -> int:
    """The class that class_label, the prompt, or both name."""
    prompt = (fields.prompt or "").strip()
    if fields.class_label is None:
        if not prompt:
            allowed = "a class index or name, or else a prompt that names a class"
            raise RequestRejected("class_label", None, allowed)
        return _class_named(prompt, card)
    label = card.class_index("class_label", fields.class_label)
    if "prompt" not in card.conditioning and prompt and _class_named(prompt, card) != label:
        name = card.classes[label].name
        raise RequestRejected("prompt", prompt, f"empty, or {name!r} as class_label says")
    return label


def _class_named(prompt: str, card: ModelCard) -> int:
    """The class a prompt names, with or without an article; a name that begins with one counts."""
    bare = _ARTICLE.sub("", prompt, count=1)
    if bare != prompt:
        with suppress(RequestRejected):
            return card.class_index("prompt", prompt)
    return card.class_index("prompt", bare)
