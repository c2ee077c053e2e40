"""XL/2R with random weights as a bundle, made once and shared by the sections that need it."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import torch
from torch import Tensor

from model.bundle import Bundle, write_bundle
from model.denoisers.build import Denoiser, build_denoiser
from model.specs.files import read_recipe
from model.specs.networks import DiMRSpec
from model.specs.recipe import Recipe
from tests.benchmarks.gpu.setting import Setting

if TYPE_CHECKING:
    from model.autoencoder import LatentCodec

NAME = "dimr-xl2r-256"


class ShownLatents:
    """Latents drawn as they are: three of their channels, squeezed so that none is clamped.

    The network's random weights leave nothing to decode, and this compares whole trajectories.
    """

    def threshold(self, data: Tensor) -> Tensor:
        return data

    def decode(self, x: Tensor) -> Tensor:
        return x[:, :3] / (1 + x[:, :3].abs())

    def to(self, device: torch.device) -> Self:
        return self


def recipe_of(setting: Setting) -> Recipe:
    """The published one, or in a rehearsal one like it of no size."""
    recipe = read_recipe(NAME)
    if not setting.rehearsal:
        return recipe
    network = recipe.network
    assert isinstance(network, DiMRSpec)
    low, high = network.stages
    stages = (
        low.model_copy(update={"dim": 32, "blocks": 3, "hidden": 48, "heads": 2}),
        high.model_copy(update={"dim": 24, "blocks": 3, "hidden": 32, "kernel": 3}),
    )
    small = network.model_copy(update={"size": 8, "classes": 5, "stages": stages})
    return recipe.model_copy(update={"network": small})


def network_of(setting: Setting) -> Denoiser:
    """On the device, with weights none of which is where it starts."""
    torch.manual_seed(0)
    with setting.device:
        network = build_denoiser(recipe_of(setting).network).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return network.requires_grad_(requires_grad=False)


def large_folder(setting: Setting) -> Path:
    """Where the bundle is; it is written when it is asked for first."""
    folder, recipe = setting.scratch / NAME, recipe_of(setting)
    if not folder.is_dir():
        assert isinstance(recipe.network, DiMRSpec)
        network = network_of(setting).cpu()
        classes = [f"class {index}" for index in range(recipe.network.classes)]
        write_bundle(folder, recipe, network, classes, steps=0)
    return folder


def shown(bundle: Bundle) -> Bundle:
    """A latent bundle that needs no autoencoder."""
    return dataclasses.replace(bundle, autoencoder=cast("LatentCodec", ShownLatents()))
