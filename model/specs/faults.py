"""What is wrong with a document, for people."""

from pydantic_core import ErrorDetails


def described(fault: ErrorDetails) -> str:
    """A fault with its field, and the value where that is short."""
    said = fault["msg"].removeprefix("Value error, ")
    field = ".".join(map(str, fault["loc"]))
    given = fault.get("input")
    if isinstance(given, str | int | float) and fault["type"] != "json_invalid":
        said += f", got {given!r:.80}"
    return f"{field}: {said}" if field else said
