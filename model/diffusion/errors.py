"""What the diffusion and sampling packages raise on bad parameters."""


class ParameterRejected(ValueError):
    """A parameter lies outside what the mathematics allows."""

    def __init__(self, value: object, *, name: str, allowed: str) -> None:
        super().__init__(f"{name}: got {value!r}; allowed: {allowed}")
        self.name = name
        self.value = value
        self.allowed = allowed
