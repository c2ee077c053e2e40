import pytest
import torch

from export.graph.parts import parts_of
from model.autoencoder import load_autoencoder
from model.bundle import Bundle
from model.specs.files import read_recipe
from model.specs.manifest import Manifest
from model.specs.process import LatentsSpec


@pytest.fixture
def latent_bundle(part_of, autoencoder_folder):
    """A bundle of a small network whose latents an autoencoder decodes."""
    network = part_of("dimr-xl2r-256").module.network
    recipe = read_recipe("dimr-xl2r-256")
    manifest = Manifest(
        id="tiny",
        kind="dimr",
        conditioning=("class",),
        sizes=(64,),
        description="for tests",
        licence="Apache-2.0",
        created=0,
        network=network.spec,
        process=recipe.process,
        sampling=recipe.sampling,
        provenance={},
    )
    codec = load_autoencoder(str(autoencoder_folder), LatentsSpec())
    return Bundle(manifest, (), network, codec)


def test_only_the_highest_branch_comes_out(part_of):
    part = part_of("dimr-m3r-64")
    assert (part.name, part.outputs) == ("denoiser", ("prediction",))
    with torch.no_grad():
        (found,) = part.module(*part.inputs.values())
        wanted = part.module.network(*part.inputs.values())[-1]
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_a_layered_network_is_a_part_for_each_number_of_scales(layered_parts):
    one, two = layered_parts
    assert (one.name, two.name) == ("denoiser-1", "denoiser-2")
    assert list(one.inputs) == ["z0", "t", "text", "mask"]
    assert list(two.inputs) == ["z0", "z1", "t", "text", "mask"]
    assert two.outputs == ("prediction_0", "prediction_1")
    with torch.no_grad():
        (low,) = one.module(*one.inputs.values())
        both = two.module(*two.inputs.values())
    torch.testing.assert_close(low, both[0], rtol=0, atol=0)


def test_the_decoder_of_a_latent_model_is_a_part(latent_bundle):
    denoiser, decoder = parts_of(latent_bundle)
    assert (denoiser.name, decoder.name) == ("denoiser", "decoder")
    with torch.no_grad():
        (image,) = decoder.module(*decoder.inputs.values())
    wanted = latent_bundle.codec.decode(decoder.inputs["z"])
    torch.testing.assert_close(image, wanted, rtol=1e-4, atol=1e-5)


def test_what_is_called_with_one_row_alone_is_built_for_that(latent_bundle):
    denoiser, decoder = parts_of(latent_bundle)
    assert denoiser.buckets((2, 8)) == (2, 8)
    assert decoder.buckets((2, 8)) == decoder.buckets((1, 2)) == (1,)


def test_examples_mix_times_and_classes(part_of):
    inputs = part_of("dimr-xl2r-256").inputs
    assert len(set(inputs["t"].tolist())) == len(set(inputs["y"].tolist())) == 2
