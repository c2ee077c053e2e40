"""Everything an evaluation refuses on purpose.

EvaluationRefused
├── EvaluationImpossible  a bundle or its data lack what is measured
├── FileRefused           a file of images, features, statistics or weights is not one
├── PlanRefused           images that are there already were made with other arguments
├── ReportRefused         an earlier report cannot be set beside the new one
└── PackageMissing        an optional package is not installed
"""


class EvaluationRefused(ValueError):
    """Base class; a command turns one into a line and an exit status."""


class EvaluationImpossible(EvaluationRefused):
    """The bundle or the data do not allow what is measured; the message says what they lack."""


class FileRefused(EvaluationRefused):
    """A file is not what it should be; the message names it and what is allowed."""


class PlanRefused(EvaluationRefused):
    """What is there already was made with other arguments; the message names the difference."""


class ReportRefused(EvaluationRefused):
    """A report cannot be set beside the new one; the message names what differs."""


class PackageMissing(EvaluationRefused):
    """An optional package is not installed; the message says how to install it."""

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; "
            f"install it with: pip install 'dimr-serve[evaluate]'"
        )
