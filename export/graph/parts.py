"""Parts: what of a bundle is compiled, each a module with named tensors in and out.

A DiMR is one part of which only the highest branch comes out, as the lower ones serve training
alone. A layered network is one part for each number of its lowest scales, since a small image does
not pay for the scales above. What gives images is a part where it is a network: the decoder of a
latent model. A text encoder is one where it is a PyTorch module; MiniLM comes as an ONNX graph in
int8 already, and folding pixels is no network, so neither of these is a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from model.autoencoder import LatentCodec
from model.bundle import DECODER_PART, Bundle
from model.denoisers.build import Denoiser
from model.denoisers.layered import LayeredUNet
from model.specs.process import LatentsSpec
from model.text.pretrained import Pretrained
from model.text.prompts import Prompts

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import PreTrainedModel

ROWS = 2  # of the example inputs: one would be taken for a constant

DENOISER, DECODER, TEXT_ENCODER = "denoiser", DECODER_PART, "text_encoder"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A network that is compiled by itself.

    Attributes:
        name: "denoiser"; "denoiser-1", "denoiser-2" and so on by the number of scales that a
            layered one computes; "decoder"; "text_encoder".
        module: called with the inputs in order, it returns a tuple in the order of `outputs`; in
            float32 and evaluation mode.
        inputs: an example of each, by name: batch first, `ROWS` of them.
        outputs: names.
        most_rows: that a call of it ever has; None where that depends on who calls.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    most_rows: int | None = None

    def buckets(self, asked: Sequence[int]) -> tuple[int, ...]:
        """Of these numbers of rows, at least one, rising, those that calls of it may have."""
        if self.most_rows is None:
            return tuple(asked)
        return (*(rows for rows in asked if rows < self.most_rows), self.most_rows)


class HighestBranch(nn.Module):
    """A network for classes, of which the last prediction alone comes out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor]:
        """Map states (B, C, d, d), times (B,) and classes (B,) to a prediction (B, C, d, d)."""
        return (self.network(x, t, y)[-1],)


class LowestScales(nn.Module):
    """A layered network, of which some of the lowest scales alone are computed."""

    def __init__(self, network: LayeredUNet, scales: int) -> None:
        super().__init__()
        self.network = network
        self.scales = scales

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map z (B, 3, d, d) of every scale, t (B,), text (B, L, W), mask (B, L) to predictions."""
        return tuple(self.network(inputs[: self.scales], *inputs[self.scales :]))


class Decoder(nn.Module):
    """The half of a KL autoencoder that makes images."""

    def __init__(self, autoencoder: "AutoencoderKL", scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.enter = autoencoder.post_quant_conv or nn.Identity()
        self.decoder = autoencoder.decoder

    def forward(self, z: Tensor) -> tuple[Tensor]:
        """Map latents (B, C, d, d) to images (B, 3, f d, f d), clamped to [-1, 1]."""
        return (self.decoder(self.enter(z / self.scale)).clamp(-1, 1),)


class TokenStates(nn.Module):
    """A pretrained text encoder over padded prompts."""

    def __init__(self, network: "PreTrainedModel") -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor]:
        """Map tokens (B, L), of which those in the mask (B, L) count, to their states (B, L, W).

        States of tokens that do not count are undefined.
        """
        return (self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state,)


def parts_of(bundle: Bundle) -> tuple[Part, ...]:
    """All parts of a bundle, the denoiser's first."""
    spec = bundle.manifest.process.codec
    parts = list(denoiser_parts(bundle.network))
    if isinstance(spec, LatentsSpec) and bundle.autoencoder is not None:
        parts.append(_decoder(bundle.autoencoder, spec, bundle.manifest.network.size))
    if bundle.prompts is not None and isinstance(bundle.prompts.encoder, Pretrained):
        parts.append(_text_encoder(bundle.prompts, bundle.prompts.encoder))
    return tuple(parts)


def denoiser_parts(network: Denoiser) -> tuple[Part, ...]:
    """The parts of a denoiser, which is in evaluation mode."""
    if isinstance(network, LayeredUNet):
        return _layered(network)
    spec, generator = network.spec, torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, spec.channels, spec.size, spec.size, generator=generator)
    inputs = {"x": x, "t": _times(), "y": torch.tensor([0, spec.classes])}
    return (Part(DENOISER, HighestBranch(network).eval(), inputs, ("prediction",)),)


def _layered(network: LayeredUNet) -> tuple[Part, ...]:
    spec, generator = network.spec, torch.Generator().manual_seed(0)
    z = [torch.randn(ROWS, spec.channels, d, d, generator=generator) for d in spec.scales]
    text = torch.randn(ROWS, spec.text.tokens, spec.text.width, generator=generator)
    mask = torch.ones(text.shape[:2], dtype=torch.bool)
    condition = {"t": _times(), "text": text, "mask": mask}
    return tuple(
        Part(
            f"{DENOISER}-{count}",
            LowestScales(network, count).eval(),
            {f"z{index}": z[index] for index in range(count)} | condition,
            tuple(f"prediction_{index}" for index in range(count)),
        )
        for count in range(1, len(z) + 1)
    )


def _times() -> Tensor:
    return torch.tensor([0.25, 0.75])


def _decoder(codec: LatentCodec, spec: LatentsSpec, side: int) -> Part:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(ROWS, spec.channels, side, side, generator=generator)
    module = Decoder(codec._autoencoder, spec.scale)
    # An image is decoded by itself. Besides, the decoder branches on whether there are 64 rows.
    return Part(DECODER, module.eval(), {"z": z}, ("image",), most_rows=1)


def _text_encoder(prompts: Prompts, encoder: Pretrained) -> Part:
    ids = torch.zeros(ROWS, prompts.tokens, dtype=torch.int64)
    inputs = {"ids": ids, "mask": torch.ones(ids.shape, dtype=torch.bool)}
    module = TokenStates(encoder.network).eval()
    return Part(TEXT_ENCODER, module, inputs, ("states",), most_rows=1)
