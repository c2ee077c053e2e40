"""Where an error comes from: layers of the denoiser, islands of it and of the text encoder."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from export.compilers.options import Silence
from export.compilers.rows import over_rows
from export.graph.precision import Precision
from export.parity.others import token_calls
from export.parity.study import Studied, layers_and_islands
from model.text.prompts import Prompts

TOKENS = 4


@pytest.mark.xdist_group("parity")
def test_islands_of_a_text_encoder_are_studied_too(bundle, reference, encoder):
    whole = dataclasses.replace(bundle, prompts=Prompts(encoder, TOKENS))
    last = encoder.network.encoder.block[0].layer[1].DenseReluDense
    last.wi.weight.data.mul_(100)
    last.wo.weight.data.mul_(1e5)
    calls = token_calls(encoder, ["red apple", "tree"], TOKENS)
    found: Any = SimpleNamespace(precision=Precision.FP16, prepared=over_rows)
    studied = layers_and_islands(found, whole, reference.calls, calls, Silence())
    (part,) = studied.layers
    assert part == "denoiser"
    assert studied.layers[part][-1].name == "prediction"
    assert all(layer.error < 0.02 for layer in studied.layers[part])
    assert studied.islands.keys() == {"denoiser", "text_encoder"}
    assert studied.islands["denoiser"] == (), "its time has no weights"
    whole_one, without = studied.islands["text_encoder"]
    assert whole_one.error < 0.01
    assert without.without == "*.wo"
    assert not without.error < 0.1


def test_an_engine_without_a_graph_has_nothing_to_study(bundle, reference):
    found: Any = SimpleNamespace(precision=None, prepared=over_rows)
    assert layers_and_islands(found, bundle, reference.calls, (), Silence()) == Studied()
