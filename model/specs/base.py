"""What every spec is: frozen data that refuses unknown keys.

A spec checks its own consistency, so a spec that exists can be built.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """An immutable description; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ModelId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
