"""All that `dimr-train` needs, as one file."""

from typing import Self

from pydantic import model_validator

from model.specs.base import ModelId, Spec
from model.specs.data import DataSpec, LatentsData
from model.specs.networks import NetworkSpec
from model.specs.process import LatentsSpec, PixelsSpec, ProcessSpec, SamplingDefaults
from model.specs.training import TrainingSpec


class Recipe(Spec):
    """All that `dimr-train` needs: network, process, run, and what to call the result."""

    id: ModelId
    description: str
    licence: str
    data: DataSpec
    network: NetworkSpec
    process: ProcessSpec
    training: TrainingSpec
    sampling: SamplingDefaults = SamplingDefaults()

    @model_validator(mode="after")
    def _data_and_network_meet(self) -> Self:
        network, codec = self.network, self.process.codec
        if isinstance(self.data, LatentsData) != isinstance(codec, LatentsSpec):
            msg = (
                f"data.kind: got {self.data.kind!r}; allowed with codec {codec.kind!r}: "
                f"{'latents' if isinstance(codec, LatentsSpec) else 'emoji or images'}"
            )
            raise ValueError(msg)
        match codec:
            case LatentsSpec():
                channels, size = codec.channels, network.size  # latents may be of any size
            case PixelsSpec():
                assert not isinstance(self.data, LatentsData)
                channels, size = 3 * codec.factor**2, self.data.size // codec.factor
        if (network.channels, network.size) != (channels, size):
            msg = (
                f"network: takes (channels, size, size) = "
                f"{(network.channels, network.size, network.size)}; "
                f"data and codec give {(channels, size, size)}"
            )
            raise ValueError(msg)
        return self
