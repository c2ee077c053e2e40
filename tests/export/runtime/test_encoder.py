"""Prompts read by a compiled part in place of the encoder that it was made of."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from export.graph.parts import parts_of
from export.graph.precision import Precision
from export.graph.trace import to_onnx
from export.runtime.encoder import PartEncoder
from export.runtime.onnx import OnnxPart, open_session

PROMPTS = ("red apple", "", "a green car on a red tree", "\N{RED APPLE}")


@pytest.fixture(scope="module")
def encoder(t5_bundle, tmp_path_factory):
    """By ONNX Runtime."""
    part = parts_of(t5_bundle)[-1]
    path = tmp_path_factory.mktemp("text") / "text_encoder.onnx"
    path.write_bytes(to_onnx(part, precision=Precision.FP32, max_batch=2).SerializeToString())
    graph = OnnxPart(open_session(path, tuple(part.inputs), threads=1))
    return PartEncoder(t5_bundle.prompts.encoder, graph)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_states_are_those_of_the_encoder(encoder, t5_encoder, prompt):
    found, wanted = encoder.encode(prompt, 5), t5_encoder.encode(prompt, 5)
    assert found.length == wanted.length
    torch.testing.assert_close(found.states, wanted.states)
    assert encoder.identity == t5_encoder.identity


def test_rows_that_fill_a_call_change_nothing(encoder, t5_encoder):
    twice = PartEncoder(t5_encoder, encoder._part, rows=2)
    torch.testing.assert_close(
        twice.encode("red apple", 5).states, encoder.encode("red apple", 5).states
    )


def test_a_part_is_called_by_one_thread_at_a_time_and_its_answers_are_kept(t5_encoder):
    """Its buffers are the same ones for every call, as those of a plan are."""
    buffer = torch.zeros(1, 5, 16)
    inside: list[None] = []

    def part(ids, _mask):
        inside.append(None)
        assert len(inside) == 1
        buffer.copy_(ids[..., None].float().expand_as(buffer))
        inside.pop()
        return (buffer,)

    encoder = PartEncoder(t5_encoder, part)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda prompt: encoder.encode(prompt, 5), PROMPTS * 20))
    for prompt, encoded in zip(PROMPTS * 20, found, strict=True):
        ids, _ = t5_encoder.read(prompt, 5)
        assert torch.equal(encoded.states[:, 0], ids.float())
