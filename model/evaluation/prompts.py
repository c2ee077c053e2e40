"""What a prompt model is asked for when it is measured."""

from model.specs.data import CaptionedEmojiData


def concept_prompts(data: CaptionedEmojiData) -> tuple[str, ...]:
    """A prompt for each concept, in the order of a judge's classes: its name."""
    return data.concepts
