"""Examples that cannot be used: they end the run, or are left out by name."""

import logging
from collections.abc import Mapping

from model.data.errors import ExampleUnreadable
from model.specs.data import OnBad

logger = logging.getLogger(__name__)


class BadExamples:
    """What was left out so far; each is logged once. Threads may share one, processes do not."""

    def __init__(self, policy: OnBad) -> None:
        self._policy = policy
        self._met: dict[str, ExampleUnreadable] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why each was left out, by where it is; empty where the first one ends the run."""
        return {where: error.reason for where, error in list(self._met.items())}

    def meet(self, error: ExampleUnreadable) -> None:
        """Leave the example out, or raise `error` where the policy is to stop."""
        if self._policy is OnBad.STOP:
            raise error
        if self._met.setdefault(error.where, error) is error:
            logger.warning("example left out: %s: %s", error.where, error.reason)
