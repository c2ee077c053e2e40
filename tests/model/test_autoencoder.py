"""Codecs: what they make of images, and autoencoders that are refused by name."""

import json
import logging
import shutil
import sys

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from model.autoencoder import AutoencoderRefused, PixelCodec, draw_latent, load_autoencoder
from model.specs.process import LatentsSpec, PixelsSpec

LATENTS = LatentsSpec(factor=4, scale=0.5)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
    ).eval()


@pytest.fixture(scope="module")
def folder(autoencoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("autoencoder")
    autoencoder.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def codec(folder):
    return load_autoencoder(str(folder), LATENTS)


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_moments_are_mean_and_log_variance_of_the_encoders_distribution(codec, autoencoder, images):
    with torch.no_grad():
        distribution = autoencoder.encode(images).latent_dist
    mean, logvar = codec.moments(images).chunk(2, dim=1)
    assert mean.shape == (3, 4, 4, 4)
    torch.testing.assert_close(mean, distribution.mean)
    torch.testing.assert_close(logvar, distribution.logvar)


def test_a_latent_is_drawn_as_diffusers_draws_it_and_scaled(autoencoder, images):
    with torch.no_grad():
        distribution = autoencoder.encode(images).latent_dist
    noise = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    expected = distribution.sample(torch.Generator().manual_seed(5))
    drawn = draw_latent(distribution.parameters, noise, 0.18215)
    torch.testing.assert_close(drawn, 0.18215 * expected)


@pytest.mark.parametrize(("logvar", "bound"), [(-1000.0, -30.0), (1000.0, 20.0)])
def test_log_variances_are_clamped(logvar, bound):
    moments = torch.tensor([2.0, logvar]).view(2, 1, 1)
    deviation = torch.tensor(bound / 2).exp().view(1, 1, 1)
    drawn = draw_latent(moments, torch.ones(1, 1, 1), 3.0)
    torch.testing.assert_close(drawn, 3 * (2 + deviation))


def test_decoding_undoes_the_scale_and_clamps(codec, autoencoder):
    z = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2)) * 20
    with torch.no_grad():
        expected = autoencoder.decode(z / 0.5).sample
    assert expected.abs().max() > 1
    torch.testing.assert_close(codec.decode(z), expected.clamp(-1, 1), atol=1e-5, rtol=1e-5)


def test_a_decoded_image_is_bit_equal_alone_and_among_neighbours(codec):
    z = torch.randn(5, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    together = codec.decode(z)
    for k in range(5):
        assert torch.equal(codec.decode(z[k : k + 1])[0], together[k])


def test_pixels_are_bounded_and_latents_are_not(codec):
    data = torch.tensor([-3.0, 0.5, 7.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(codec.threshold(data), data)
    bounded = PixelCodec(PixelsSpec()).threshold(data)
    torch.testing.assert_close(bounded.flatten(), torch.tensor([-1.0, 0.5, 1.0]))


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_pixels_come_back_as_they_were(images, factor):
    codec = PixelCodec(PixelsSpec(factor=factor))
    folded = codec.encode(images)
    assert folded.shape == (3, 3 * factor**2, 16 // factor, 16 // factor)
    torch.testing.assert_close(codec.decode(folded), images, atol=0, rtol=0)


def test_its_files_load_to_the_same_autoencoder_and_say_no_path(codec, images, tmp_path):
    for name, content in codec.files().items():
        (tmp_path / name).write_bytes(content)
    again = load_autoencoder(str(tmp_path), LATENTS)
    torch.testing.assert_close(again.moments(images), codec.moments(images), atol=0, rtol=0)
    assert "_name_or_path" not in json.loads((tmp_path / "config.json").read_text())


def drop_a_tensor(folder):
    weights = load_file(folder / WEIGHTS)
    del weights["decoder.conv_in.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def cut_short(folder):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-100])


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (drop_a_tensor, "1 tensors are missing: decoder.conv_in.weight"),
        (cut_short, "cannot be loaded"),
        (lambda f: (f / WEIGHTS).unlink(), f"cannot be loaded.*{WEIGHTS}"),
        (lambda f: (f / "config.json").unlink(), "cannot be loaded.*config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be loaded.*config.json"),
    ],
    ids=["tensor", "cut", "weights", "config", "json"],
)
def test_a_harmed_autoencoder_is_refused_in_one_line(folder, tmp_path, harm, named):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    harm(copy)
    with pytest.raises(AutoencoderRefused, match=named) as refusal:
        load_autoencoder(str(copy), LATENTS)
    assert "\n" not in str(refusal.value)
    assert logging.getLogger("diffusers").level != logging.CRITICAL


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (LATENTS.model_copy(update={"channels": 16}), "channels.*got 4; allowed: 16"),
        (LATENTS.model_copy(update={"factor": 8}), "factor.*got 4; allowed: 8"),
    ],
)
def test_latents_of_other_sizes_are_refused(folder, spec, named):
    with pytest.raises(AutoencoderRefused, match=named):
        load_autoencoder(str(folder), spec)


@pytest.mark.parametrize("source", ["/absent/folder", "absent", "", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_repository_is_refused(source):
    with pytest.raises(AutoencoderRefused, match=r"allowed: a folder that exists.* OWNER/NAME"):
        load_autoencoder(source, LATENTS)


def test_without_diffusers_the_error_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(AutoencoderRefused, match=r"pip install 'dimr-serve\[latents\]'"):
        load_autoencoder(str(folder), LATENTS)
