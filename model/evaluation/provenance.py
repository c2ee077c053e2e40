"""What a bundle tells of its own making, as far as an evaluation needs it."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.evaluation.errors import EvaluationImpossible
from model.specs.data import CaptionedEmojiData, EmojiData
from model.specs.manifest import Manifest
from model.specs.training import TrainingSpec


class Provenance(BaseModel):
    """The part of `Manifest.provenance` that dimr-train always writes."""

    model_config = ConfigDict(frozen=True)

    data: Annotated[EmojiData | CaptionedEmojiData, Field(discriminator="kind")]
    training: TrainingSpec
    steps: int
    images_seen: int
    stacked_on: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Read the provenance of a bundle.

        Raises:
            EvaluationImpossible: it lacks something; names the field.
        """
        try:
            return cls.model_validate(dict(manifest.provenance))
        except ValidationError as error:
            field = ".".join(("provenance", *map(str, error.errors()[0]["loc"])))
            msg = (
                f"{field} of bundle {manifest.id} is missing or malformed; "
                f"allowed: a bundle that dimr-train wrote"
            )
            raise EvaluationImpossible(msg) from error
