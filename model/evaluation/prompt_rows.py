"""How a prompt model takes other words, as tables for a terminal and for a model card.

The first row of each table is its heading.
"""

from collections.abc import Sequence

from model.evaluation.report import PromptMeasures, StyleChoice, percent


def wording_rows(prompts: PromptMeasures) -> list[Sequence[str]]:
    """Caption match with other words."""
    found = [
        (
            wording.kind,
            wording.example,
            "yes" if wording.trained else "no",
            str(wording.prompts),
            percent(wording.accuracy.top1),
            percent(wording.by_name.top1),
        )
        for wording in prompts.wordings
    ]
    heading = ("in other words", "such as", "trained on", "prompts", "match", "by name")
    return [heading, *found]


def combination_rows(prompts: PromptMeasures) -> list[Sequence[str]]:
    """Things in colours that no training image of them has."""
    found = [
        (
            each.prompt,
            percent(each.of_colour),
            f"{each.concept}: {percent(each.by_name)}",
            percent(each.of_concept),
        )
        for each in prompts.combinations
    ]
    return [("new combination", "in the colour", "by name", "taken for the thing"), *found]


def unknown_rows(prompts: PromptMeasures) -> list[Sequence[str]]:
    """Prompts of which nothing was trained on."""
    found = [
        (each.prompt, f"{each.taken_for}, {percent(each.share)}", f"{each.probability:.2f}")
        for each in prompts.unknown
    ]
    return [("unknown words", "most often taken for", "with probability"), *found]


def style_line(style: StyleChoice) -> str:
    """How far a style that is named is followed."""
    return (
        f"Of {style.samples} samples of prompts that name a style, {percent(style.followed)} are "
        f"nearest to that style's drawing of the thing; by chance {percent(style.chance)} would be"
    )
