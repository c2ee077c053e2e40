"""What a run needs besides its data and its weights, opened as its options say."""

import argparse
from dataclasses import dataclass, replace

import torch

from model.autoencoder import Codec
from model.bundle import Bundle, load_bundle
from model.data.captions import read_captions
from model.sampling.conditions import Conditions, Wanted, conditions_for
from model.specs.layered import LayeredSpec
from model.specs.recipe import Recipe
from model.text.batched import for_training
from model.text.open import open_encoder
from model.text.prompts import Prompts
from model.training.previews import codec_for, to_draw
from model.training.stacking import check_stackable


@dataclass(frozen=True, slots=True)
class Means:
    """What a run needs besides its data and its weights.

    Attributes:
        below: trained lower scales to start from, without their encoder; None if not asked for.
        prompts: reads the captions; None for a class model.
        conditions: of the network.
        codec: makes images of samples; None where it would be of no use and was not named.
        drawable: what samples can be asked to show.
    """

    below: Bundle | None
    prompts: Prompts | None
    conditions: Conditions
    codec: Codec | None
    drawable: tuple[Wanted, ...]


def open_means(arguments: argparse.Namespace, recipe: Recipe, device: torch.device) -> Means:
    """Open all of it.

    Args:
        arguments: of the command.
        recipe: what is trained.
        device: this process's, where a large text encoder goes too.

    Raises:
        ValueError: something cannot be opened, or does not fit the recipe; names it.
    """
    prompts = _prompts(recipe, device)
    return Means(
        below=_below(arguments, recipe, prompts),
        prompts=prompts,
        conditions=conditions_for(recipe.network, prompts),
        codec=_codec(arguments, recipe),
        drawable=_drawable(arguments, recipe),
    )


def _codec(arguments: argparse.Namespace, recipe: Recipe) -> Codec | None:
    """What makes images of samples; None where it would be of no use and was not named."""
    painted = arguments.samples_every is not None or arguments.measure_every is not None
    if arguments.autoencoder is None and not painted:
        return None
    return codec_for(recipe, arguments.autoencoder)


def _prompts(recipe: Recipe, device: torch.device) -> Prompts | None:
    """What reads the captions; None for a class model."""
    if not isinstance(recipe.network, LayeredSpec):
        return None
    assert recipe.text is not None
    encoder, text = open_encoder(recipe.text), recipe.network.text
    if encoder.identity.width != text.width:
        msg = f"network.text.width: got {text.width}; the text encoder has {encoder.identity.width}"
        raise ValueError(msg)
    return Prompts(for_training(encoder, device), text.tokens)


def _drawable(arguments: argparse.Namespace, recipe: Recipe) -> tuple[Wanted, ...]:
    """All that samples can be asked to show; nothing where none are painted."""
    prompts = None
    if arguments.sample_prompts is not None:
        prompts = read_captions(arguments.sample_prompts)
    painted = arguments.samples_every is not None or arguments.measure_every is not None
    if not painted and prompts is None:
        return ()
    return to_draw(recipe, prompts)


def _below(arguments: argparse.Namespace, recipe: Recipe, prompts: Prompts | None) -> Bundle | None:
    """The trained network of the lower scales that this one is stacked on, without its encoder."""
    if arguments.stack_on is None:
        return None
    if arguments.resume:
        msg = "--stack-on: has no effect with --resume; allowed: at the start of a run"
        raise ValueError(msg)
    below = load_bundle(arguments.stack_on)
    text = None if prompts is None else prompts.identity
    check_stackable(below, recipe, text, arguments.stack_on)
    return replace(below, prompts=None)  # a second one may be large, and has no effect
