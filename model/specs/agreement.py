"""Whether a network and a process belong together, wherever the two are written side by side."""

from model.specs.layered import LayeredSpec
from model.specs.networks import NetworkSpec
from model.specs.process import PixelsSpec, ProcessSpec


def check_agreement(network: NetworkSpec, process: ProcessSpec) -> None:
    """Accept a process that can run around a network.

    Raises:
        ValueError: channels, scales or codec do not fit; names the field.
    """
    codec, scales = process.codec, process.scales
    channels = 3 * codec.factor**2 if isinstance(codec, PixelsSpec) else codec.channels
    if network.channels != channels:
        msg = f"network.channels: got {network.channels}; allowed: {channels}, as process.codec has"
        raise ValueError(msg)
    if not isinstance(network, LayeredSpec):
        if scales is not None:
            msg = f"process.scales: has no effect with a network of kind {network.kind!r}"
            raise ValueError(msg)
        return
    if scales is None:
        msg = "process.scales: lacking; a layered network needs it"
        raise ValueError(msg)
    if codec.factor != 1:
        msg = f"process.codec.factor: got {codec.factor}; allowed with scales: 1"
        raise ValueError(msg)
    if scales.delays is not None and len(scales.delays) != len(network.scales):
        msg = (
            f"process.scales.delays: got {len(scales.delays)} numbers; "
            f"allowed: one for each scale of {network.scales}"
        )
        raise ValueError(msg)


def image_sizes(network: NetworkSpec, process: ProcessSpec) -> tuple[int, ...]:
    """Sides in pixels of the images that a network draws, low to high."""
    return tuple(side * process.codec.factor for side in network.sides)
