"""What a command makes images of: classes or prompts, as people type them and as files tell them.

A bundle knows one of the two, and the other is refused with what to type instead.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.bundle import Bundle
from model.sampling.arguments import ArgumentRefused, prompt_text
from model.sampling.classes import ClassUnknown, file_stems, find_class
from model.sampling.conditions import Wanted


@dataclass(frozen=True, slots=True)
class Subject:
    """What one image shows, or several of different seeds.

    Attributes:
        condition: class index or prompt.
        said: the same for people.
        stem: a part of file names, unlike that of any other subject.
        parameters: what an image of it carries about it.
    """

    condition: Wanted
    said: str
    stem: str
    parameters: Mapping[str, object]


def add_subject_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --list, --all-classes, --class and --prompt, of which one is given."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="print the bundle's classes and stop")
    what.add_argument("--all-classes", action="store_true", help="make images of every class")
    what.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="NAME",
        help="what to make images of; may be repeated",
    )
    what.add_argument(
        "--prompt",
        dest="prompts",
        type=prompt_text,
        action="append",
        metavar="TEXT",
        help='what to make images of, in words; may be repeated; "" leaves it to chance',
    )


def listed_classes(bundle: Bundle) -> list[str]:
    """A line for each class: its name and aliases.

    Raises:
        ArgumentRefused: the bundle draws prompts.
    """
    _refuse_prompt_models(bundle, "--list")
    return [", ".join((label.name, *label.aliases)) for label in bundle.labels]


def chosen_subjects(bundle: Bundle, arguments: argparse.Namespace) -> list[Subject]:
    """What was asked for by `add_subject_arguments`, in its order.

    Raises:
        ArgumentRefused: the bundle cannot draw it, or it was asked for twice.
    """
    if arguments.prompts is not None:
        return _prompts(bundle, arguments.prompts)
    if arguments.classes is not None:
        return _classes(bundle, arguments.classes)
    _refuse_prompt_models(bundle, "--all-classes")
    return _of_labels(bundle, range(len(bundle.labels)))


def _prompts(bundle: Bundle, prompts: Sequence[str]) -> list[Subject]:
    if bundle.prompts is None:
        msg = (
            f"argument --prompt: got {prompts[0]!r}; allowed with bundle {bundle.manifest.id!r}: "
            f"--class NAME, it draws classes (--list shows all)"
        )
        raise ArgumentRefused(msg)
    for index, prompt in enumerate(prompts):
        if prompt in prompts[:index]:
            msg = f"argument --prompt: got {prompt!r} twice; allowed: each prompt once (see --n)"
            raise ArgumentRefused(msg)
    return [
        Subject(prompt, " ".join(prompt.split()) or "no prompt", stem, {"prompt": prompt})
        for prompt, stem in zip(prompts, file_stems(prompts, nameless="prompt"), strict=True)
    ]


def _classes(bundle: Bundle, names: Sequence[str]) -> list[Subject]:
    _refuse_prompt_models(bundle, "--class")
    chosen: list[int] = []
    for name in names:
        try:
            label = find_class(bundle.labels, name)
        except ClassUnknown as error:
            msg = f"argument --class: {error}"
            raise ArgumentRefused(msg) from error
        if label in chosen:
            msg = f"argument --class: got {name!r} twice; allowed: each class once (see --n)"
            raise ArgumentRefused(msg)
        chosen.append(label)
    return _of_labels(bundle, chosen)


def _of_labels(bundle: Bundle, labels: Sequence[int]) -> list[Subject]:
    names = [label.name for label in bundle.labels]
    stems = file_stems(names, nameless="class")
    return [Subject(k, names[k], stems[k], {"class_name": names[k], "label": k}) for k in labels]


def _refuse_prompt_models(bundle: Bundle, argument: str) -> None:
    if bundle.prompts is not None:
        msg = (
            f"argument {argument}: bundle {bundle.manifest.id!r} has no classes; "
            f"allowed: --prompt TEXT, it draws what a text says"
        )
        raise ArgumentRefused(msg)
