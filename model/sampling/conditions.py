"""What an image is to show, as the tensors that a network is conditioned on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.diffusion.errors import ParameterRejected
from model.specs.layered import LayeredSpec
from model.specs.networks import NetworkSpec
from model.text.prompts import Prompts

Wanted = int | str
"""What one image is to show: a class index, or a prompt."""


class Conditions(Protocol):
    """Turns what is wanted into a network's arguments: tensors with one row an image."""

    def check(self, wanted: Wanted) -> None:
        """Refuse what `rows` would refuse, at no cost.

        Raises:
            ParameterRejected: the model cannot draw this; says what it draws.
        """

    def rows(self, wanted: Sequence[Wanted], device: torch.device) -> tuple[Tensor, ...]:
        """One row of each tensor for each image.

        Raises:
            ParameterRejected: see `check`.
        """

    def null(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """`count` rows for images of nothing in particular: the other half of guidance."""


@dataclass(frozen=True, slots=True)
class ClassConditions:
    """Class indices (B,) int64; index `classes` is the null class.

    Attributes:
        classes: how many there are.
    """

    classes: int

    def check(self, wanted: Wanted) -> None:
        """Refuse a prompt, and a class that does not exist."""
        if isinstance(wanted, str):
            raise ParameterRejected(wanted, name="prompt", allowed="a class")
        if not 0 <= wanted < self.classes:
            raise ParameterRejected(wanted, name="label", allowed=f"0 to {self.classes - 1}")

    def rows(self, wanted: Sequence[Wanted], device: torch.device) -> tuple[Tensor]:
        """The indices."""
        for each in wanted:
            self.check(each)
        return (torch.tensor(wanted, dtype=torch.int64, device=device),)

    def null(self, count: int, device: torch.device) -> tuple[Tensor]:
        """The null class, `count` times."""
        return (torch.full((count,), self.classes, device=device),)


@dataclass(frozen=True, slots=True)
class TextConditions:
    """Token states (B, L, W) of prompts and their mask (B, L); an empty prompt is the null one.

    Attributes:
        prompts: what reads them.
    """

    prompts: Prompts

    def check(self, wanted: Wanted) -> None:
        """Refuse a class."""
        if not isinstance(wanted, str):
            raise ParameterRejected(wanted, name="label", allowed="a prompt")

    def rows(self, wanted: Sequence[Wanted], device: torch.device) -> tuple[Tensor, Tensor]:
        """The states and the mask."""
        prompts = []
        for each in wanted:
            self.check(each)
            prompts.append(str(each))
        states, mask = self.prompts.states(prompts)
        return states.to(device), mask.to(device)

    def null(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The states of the empty prompt, `count` times."""
        return self.rows([""] * count, device)


def conditions_for(spec: NetworkSpec, prompts: Prompts | None) -> Conditions:
    """What a network is conditioned on.

    Args:
        spec: the network.
        prompts: what reads the prompts of a network that draws texts.

    Raises:
        ParameterRejected: the network draws texts and nothing reads them.
    """
    if not isinstance(spec, LayeredSpec):
        return ClassConditions(spec.classes)
    if prompts is None:
        raise ParameterRejected(None, name="prompts", allowed="a text encoder, for this network")
    return TextConditions(prompts)
