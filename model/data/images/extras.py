"""Packages that only some data need, imported when they are."""

from importlib import import_module
from types import ModuleType

from model.data.errors import ExtraMissing


def import_extra(package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ExtraMissing: it is not installed; the message says how to.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ExtraMissing(package) from error
