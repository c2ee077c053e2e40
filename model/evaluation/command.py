"""What every subcommand of dimr-evaluate is made of."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from model.sampling.arguments import Parser


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of the program.

    Attributes:
        arguments: parsed and in range.
        line: the whole command line, for reports.
        console: where results are shown.
    """

    arguments: argparse.Namespace
    line: str
    console: Console

    def say(self, text: str) -> None:
        """Show a line as it is, never wrapped."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand.

    Attributes:
        name: as it is typed.
        summary: one line for the list of subcommands.
        description: what it does, for its own help.
        epilog: examples.
        add_arguments: adds its arguments to a parser.
        run: does it.
        interrupted: what is true after Ctrl-C.
    """

    name: str
    summary: str
    description: str
    epilog: str
    add_arguments: Callable[[Parser], None]
    run: Callable[[Invocation], None]
    interrupted: str
