"""Decoder and text encoder beside those of the bundle, and beside damaged ones."""

import copy

import pytest
import torch

from export.graph.parts import Decoder, TokenStates
from export.parity.others import decoder_psnrs_db, text_error, token_calls
from export.runtime.codec import PartCodec
from model.autoencoder import load_autoencoder
from model.specs.process import LatentsSpec

PROMPTS = ("red apple", "green car", "tree")
TOKENS = 4


def test_a_decoder_is_compared_with_the_bundles_own(autoencoder_folder):
    spec = LatentsSpec()
    exact = load_autoencoder(str(autoencoder_folder), spec)
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    found = PartCodec(exact, Decoder(copy.deepcopy(exact._autoencoder), spec.scale).eval())
    values = decoder_psnrs_db(found, exact, [latents, latents[:1]])
    damaged = copy.deepcopy(exact)
    damaged._autoencoder.decoder.conv_out.bias[0] += 0.5
    assert len(values) == 3
    assert min(values) > 40
    assert max(decoder_psnrs_db(found, damaged, [latents])) < 40


@pytest.fixture
def calls(encoder):
    return token_calls(encoder, [*PROMPTS, *PROMPTS], TOKENS)


def test_a_prompt_is_read_once_and_padded(calls):
    assert [ids.tolist() for ids, _ in calls] == [[[3, 5, 1, 0]], [[4, 6, 1, 0]], [[7, 1, 0, 0]]]
    assert [mask.sum().item() for _, mask in calls] == [3, 3, 2]


def test_a_text_encoder_is_compared_over_the_tokens_that_count(encoder, calls):
    graph = torch.no_grad()(TokenStates(copy.deepcopy(encoder.network)).eval())
    assert text_error(graph, encoder, calls) < 1e-5
    with torch.no_grad():
        encoder.network.get_input_embeddings().weight[7] += 3  # of "tree"
    assert text_error(graph, encoder, calls[:2]) < 1e-5
    assert text_error(graph, encoder, calls) > 0.1
