"""The model card of a bundle: what it is, made of and worth, in Markdown."""

from collections.abc import Sequence

from model.bundle import Bundle
from model.evaluation import prompt_card
from model.evaluation.classifier import EMBEDDING
from model.evaluation.markdown import bullets, filled, sides, table
from model.evaluation.measures import COPY_RMSE
from model.evaluation.provenance import Provenance
from model.evaluation.report import Measures, Report, percent, rows

CARD_NAME = "MODEL_CARD.md"
NOTICE_NAME = "NOTICE"  # beside the training data


def write_card(
    bundle: Bundle,
    provenance: Provenance,
    report: Report,
    *,
    notice: str,
    training_note: str | None,
    before: Report | None = None,
    lower: Sequence[Report] = (),
) -> str:
    """Write the text of a model card.

    Args:
        bundle: the model.
        provenance: how it was made.
        report: what `dimr-evaluate` found for it.
        notice: copyright notices and licences of the training data, quoted whole.
        training_note: how long training took on what machine, in words.
        before: what the same judge found for an earlier model, to show the gain.
        lower: what was found for lower scales of the same model.
    """
    measures, prompts = report.measures, report.measures.prompts
    if prompts is None:
        identity, limits = _identity(bundle), _limits(bundle, provenance, measures)
    else:
        identity = prompt_card.identity(bundle, provenance)
        limits = prompt_card.limits(bundle, provenance, measures)
    sections = (
        identity,
        _data(bundle, measures),
        _training(bundle, provenance, training_note),
        _measures(report),
        *([] if before is None else [_gain(report, before)]),
        *map(_lower, lower),
        *([] if prompts is None else [prompt_card.other_words(prompts)]),
        limits,
        "## Notices of the training data\n\n```text\n" + notice.rstrip() + "\n```",
    )
    return "\n\n".join(sections) + "\n"


def worst_line(measures: Measures) -> str:
    """The classes with the lowest accuracies in words, or that there are none."""
    if not measures.worst:
        return f"All {len(measures.classes)} classes have an accuracy of {percent(1)}"
    named = ", ".join(f"{entry.name} ({percent(entry.top1)})" for entry in measures.worst)
    return f"Lowest accuracy: {named}"


def _identity(bundle: Bundle) -> str:
    manifest = bundle.manifest
    parameters = sum(p.numel() for p in bundle.network.parameters())
    defaults = manifest.sampling
    name = bundle.labels[0].name
    intro = filled(
        f"A {manifest.kind} diffusion model of {parameters / 1e6:.2f} million parameters that "
        f"draws {len(bundle.labels)} classes at {sides(bundle)} pixels. It takes a class and a "
        f"seed. Defaults: {defaults.steps} steps of {defaults.sampler}, guidance "
        f"{defaults.guidance:g}."
    )
    return (
        f"# {manifest.id}\n\n{filled(manifest.description)}\n\n## What it is\n\n{intro}\n\n"
        f'```\ndimr-sample BUNDLE --class "{name}" --n 4 --out images\n```'
    )


def _data(bundle: Bundle, measures: Measures) -> str:
    text = (
        f"Trained on {measures.real_images} drawings: each {_noun(measures)} once in each of the "
        f"styles {', '.join(measures.styles)}, on white. The licences and copyright notices of the "
        f"drawings are quoted in full at the end of this card. Licence of the weights: "
        f"{bundle.manifest.licence}."
    )
    return f"## Data and licences\n\n{filled(text)}"


def _training(bundle: Bundle, provenance: Provenance, note: str | None) -> str:
    process, training = bundle.manifest.process, provenance.training
    optimiser = ", ".join(f"{name} {value}" for name, value in training.optimiser)
    facts = {
        "images seen": f"{provenance.images_seen:,}",
        "steps": f"{provenance.steps:,} of {training.batch} images, seed {training.seed}",
        f"{bundle.manifest.conditioning[0]} dropout": training.condition_dropout,
        "optimiser": f"AdamW, {optimiser}",
        "process": f"{process.schedule.kind} schedule, t in [{process.t_min}, {process.t_max}], "
        f"predicts {process.prediction.value}",
        "time and machine": note or "not recorded",
    }
    if provenance.stacked_on is not None:
        facts["lower scales trained before"] = ", ".join(
            f"{name} {value}" for name, value in provenance.stacked_on.items()
        )
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"## Training\n\n{lines}"


def _measures(report: Report) -> str:
    measures = report.measures
    spec, far = report.evaluation, measures.small_feature_frechet
    head = filled(
        f"{measures.samples} samples, {spec.samples_per_class} of each {_noun(measures)}, "
        f"{spec.sampling.steps} steps of {spec.sampling.sampler}, guidance "
        f"{spec.sampling.guidance:g}, seeds from {spec.seed}; measured {report.date} with PyTorch "
        f"{report.torch} on {report.threads} CPU thread(s) in {report.seconds:.0f} s by"
    )
    table = ["| measure | samples | real images | ratio |", "|---|---|---|---|"]
    table += [f"| {' | '.join(row)} |" for row in rows(measures)]
    folds = ["| style held out | real images of it, top 1 | samples, top 1 |", "|---|---|---|"]
    folds += [
        f"| {fold.held_out} | {percent(fold.real.top1)} | {percent(fold.samples.top1)} |"
        for fold in measures.folds
    ]
    return "\n\n".join(
        (
            f"## Measures\n\n{head}\n\n```\n{report.command}\n```",
            "\n".join(table),
            "\n".join(folds),
            worst_line(measures) + ".",
            filled(
                f"The judge is a classifier of {measures.judge_parameters:,} parameters trained on "
                f"the same images (weights sha256 {measures.judge_sha256[:16]}...). Its real "
                f"images are those it learned from under augmentations it never saw, so that "
                f"figure is a ceiling; the judges with a style held out are the sterner test. RMSE "
                f"is in [-1, 1] units; real images are compared with those of the other styles. "
                f"The Fréchet distance is of the judge's {EMBEDDING} features, "
                f"{far.images} images on each side, mean of {far.splits} random halves of the real "
                f"ones; it compares with nothing but the figure beside it."
            ),
        )
    )


def _gain(report: Report, before: Report) -> str:
    head = filled(
        f"The same judge on equally many samples, drawn alike, of the model before (weights sha256 "
        f"{before.denoiser_sha256[:16]}...):"
    )
    table = ["| measure | before | now | real images |", "|---|---|---|---|"]
    table += [
        f"| {now.measure} | {then.samples} | {now.samples} | {now.real} |"
        for then, now in zip(rows(before.measures), rows(report.measures), strict=True)
    ]
    return f"## Compared with the model before\n\n{head}\n\n" + "\n".join(table)


def _lower(report: Report) -> str:
    """What was found for a lower scale."""
    size = report.evaluation.size
    head = filled(
        f"Samples of {size} x {size} pixels alone, by a judge of this size; real images are "
        f"reduced to it by area averaging:"
    )
    lines = [("measure", "samples", "real images", "ratio"), *rows(report.measures)]
    return f"## At {size} pixels\n\n{head}\n\n```\n{report.command}\n```\n\n{table(lines)}"


def _limits(bundle: Bundle, provenance: Provenance, measures: Measures) -> str:
    near = measures.nearest_rmse
    hardest = min(measures.folds, key=lambda fold: fold.real.top1)
    views = provenance.images_seen / measures.real_images
    limits = (
        f"It is close to a lookup of its {measures.real_images} training images, each of which it "
        f"has seen about {views:,.0f} times. Half of the samples lie within an RMSE of "
        f"{near.samples.median:.3f} (in [-1, 1]) of one of them, "
        f"{percent(near.samples.share_of_copies)} within {COPY_RMSE}; for half of the real images "
        f"the nearest one of another style lies within {near.real.median:.3f}. White grounds make "
        f"all of these small.",
        "It knows its classes and nothing else: there are no prompts, and combinations that were "
        "not drawn for it cannot be asked for.",
        f"Images are {sides(bundle)} pixels; enlarging them adds nothing.",
        f"The style of a sample cannot be chosen. Styles by one maker resemble each other, so that "
        f"holding one of them out is no hard test; the hardest to recognise unseen was "
        f"{hardest.held_out}, {percent(hardest.real.top1)}.",
        "It is a demonstration of the serving system, trained small on purpose.",
    )
    return "## Limits\n\n" + bullets(limits)


def _noun(measures: Measures) -> str:
    """What a sample shows."""
    return "class" if measures.prompts is None else "thing"
