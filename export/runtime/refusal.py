"""Why an engine cannot be used here, and what to do about it."""


class EngineRefused(ValueError):
    """An engine that was asked for by its name cannot run this bundle here.

    The message names the engine, says why, and what to run or to set.
    """

    def __init__(self, engine: str, reason: str, remedy: str) -> None:
        super().__init__(f"engine {engine!r}: {reason}; {remedy}")
        self.engine = engine
        self.reason = reason
        self.remedy = remedy
