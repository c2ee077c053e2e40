"""All that `dimr-train` needs, as one file."""

from model.specs.base import ModelId, Spec
from model.specs.data import EmojiData
from model.specs.networks import DiMRSpec
from model.specs.process import ProcessSpec, SamplingDefaults
from model.specs.training import TrainingSpec


class Recipe(Spec):
    """All that `dimr-train` needs: network, process, run, and what to call the result."""

    id: ModelId
    description: str
    licence: str
    data: EmojiData
    network: DiMRSpec
    process: ProcessSpec
    training: TrainingSpec
    sampling: SamplingDefaults = SamplingDefaults()
