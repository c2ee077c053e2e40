"""PyTorch as it is: the reference for every other backend."""

import torch

from export.runtime.backend import Backend
from export.runtime.engine import SlotEngine
from export.runtime.streams import streams_of
from model.bundle import Bundle


class EagerEngine(SlotEngine):
    """The engine on the bundle's own network, layer by layer, in float32."""

    def __init__(self, bundle: Bundle, *, capacity: int, device: torch.device) -> None:
        """Move network and codec to `device`, probe, and allocate `capacity` slots.

        Raises:
            BundleRefused: a latent model without its autoencoder.
        """
        backend = eager_backend(bundle, device, why="the reference")
        super().__init__(bundle, backend, capacity=capacity)


def eager_backend(bundle: Bundle, device: torch.device, *, why: str) -> Backend:
    """The bundle's own network, moved to `device`.

    Raises:
        BundleRefused: a latent model without its autoencoder.
    """
    return Backend(
        name="pytorch",
        why=why,
        precision="float32",
        device=device,
        network=bundle.network.to(device),
        codec=bundle.codec.to(device),
        streams=streams_of(device),
    )
