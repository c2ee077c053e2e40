"""A compiled decoder in place of a codec's own."""

import torch

from export.runtime.codec import PartCodec
from model.autoencoder import PixelCodec
from model.specs.process import PixelsSpec


def test_a_part_decodes_images_one_at_a_time_and_the_codec_does_the_rest():
    rows = []

    def decoder(z):
        rows.append(len(z))
        return (z[:, :3] * 2,)

    codec = PartCodec(PixelCodec(PixelsSpec()), decoder)
    latents = torch.randn(3, 4, 2, 2)
    assert torch.equal(codec.decode(latents), latents[:, :3] * 2)
    assert rows == [1, 1, 1]
    assert torch.equal(codec.threshold(latents), latents.clamp(-1, 1))
    assert codec.to(torch.device("cpu")) is codec


def test_a_part_that_takes_several_rows_is_given_them():
    rows = []

    def decoder(z):
        rows.append(len(z))
        return (z[:, :3] * 2,)

    codec = PartCodec(PixelCodec(PixelsSpec()), decoder, rows=2)
    latents = torch.randn(3, 4, 2, 2)
    assert torch.equal(codec.decode(latents), latents[:, :3] * 2)
    assert rows == [2, 2, 2]
